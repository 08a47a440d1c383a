"""Moves a run to another machine: `pack` writes what it needs to continue to one small file, `unpack` restores it.

Only local disks and buckets are touched; weights are left behind where training can repeat them.
May import `model`, inside functions only.
"""
