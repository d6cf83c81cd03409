"""What a grid of cells can work on.

    base.py        Task: the contract, one page
    registry.py    tasks by name, by entry point (`moot.tasks`), by file; parameters checked
    workshop.py    where a task's work is done: here, or in child processes that can be killed
    child.py       the child's side
    packing/       circle_packing, circle_packing_sum
    partition.py, circuit.py, functions.py, colouring.py, text.py

Tasks hold no state but their parameters: a cell's solution is bytes. A model chooses moves, or writes whole solutions in words where a
task can read them (`circle_packing` with `proposals` "coordinates", `text`).
"""
