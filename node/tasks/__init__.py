"""What a grid of cells can work on.

    base.py        Task: the contract, one page
    registry.py    tasks by name, by entry point (`moot.tasks`), by file; parameters checked
    workshop.py    where a task's work is done: here, or in child processes that can be killed
    child.py       the child's side
    packing/       circle_packing, circle_packing_sum
    partition.py, circuit.py, functions.py, colouring.py

Tasks hold no state but their parameters: a cell's solution is bytes. First form: a model chooses moves; it does not write raw
coordinates yet though tasks can read them, and there is no task of free text with a rubric.
"""
