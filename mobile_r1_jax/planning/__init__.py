"""Does a run fit, and how long will it take? Answered by the compiler of the accelerator, before one is rented.

chips.py      what a chip can do, and how a topology is named
programs.py   every program of a run: the functions are those that the run calls
flops.py      operations and live bytes of a program, counted in its jaxpr
hlo.py        bytes that a compiled program moves, counted in its text
abstract.py   what the programs are called with, in shapes
measure.py    one program's memory and walls: from the TPU compiler, or estimated where there is none
knobs.py      what a run could change so that a program fits, and how much each frees
report.py     the tables
"""
