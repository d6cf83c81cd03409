"""What a grid of cells can work on.

    base.py        Task: the contract, one page
    colouring.py   a scripted task that needs no model
    registry.py    tasks by name

Tasks are pure and hold no state: a cell's solution is bytes. First form of the tasks design: scripted moves only; tasks that a model
works on, with prompts, repair and pictures, come with the runs release.
"""
