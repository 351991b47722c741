"""Jobs on many ranks: the same job as on one machine, over MPI, under Slurm or any launcher.

Covers: carrying messages (:mod:`.mpi`), what the launcher and the scheduler say of themselves (:mod:`.launch`,
:mod:`.slurm`), what killed ranks have left (:mod:`.segments`), the program that each rank runs (:mod:`.__main__`, as
``python -m caligo.cluster JOB.toml``). Does not cover: what ranks say to each other and what a job is
(:mod:`caligo.jobs`).
"""
