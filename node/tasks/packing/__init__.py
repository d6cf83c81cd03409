"""Circles in the unit square.

    geometry.py   radii computed from centres, and their proof in rational arithmetic
    ascent.py     sequential linear programming: sums of radii, many circles
    polish.py     soft discs, then SLSQP; neither is told a radius
    moves.py      the language of moves
    equal.py      circle_packing: equal circles, two questions
    unequal.py    circle_packing_sum: any radii, largest sum

Nothing here reads a table of known radii.
"""
