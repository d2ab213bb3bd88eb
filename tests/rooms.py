"""The rooms of the code, from the ground up, and what each may import: the one list of it.

Every room may import `runtime`, every room but `runtime` also `artifacts`; what else it may import is named
here. Nobody imports a room that stands further down. `tests/test_rooms.py` holds the code to it, and
`docs/rooms.py` writes the table of docs/architecture.md from it.
"""
