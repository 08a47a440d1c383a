"""The subcommands of `selfprog`: a file for each, with its help, its options and its body, and the table of them.

A body is a few lines that turn arguments into calls of the functions that do the work. It imports these inside itself,
so that `--help` answers at once. Imported only by `main` and `flag_help`.
May import `data`, `evaluation`, `model`, `moving`, `plan`, `pretraining`, `puzzles`, `report`, `sampling`, `stages`,
`study`, `telemetry` and `training`, inside functions only.
"""

from t5x_selfprog.commands import (
    bench,
    doctor,
    evaluate,
    export,
    export_data,
    finetune,
    generate,
    import_model,
    memory,
    merge,
    models,
    p3,
    pack,
    plan,
    power,
    pretrain,
    report,
    run,
    solve,
    study,
    unpack,
    verify,
)

# In the order in which they are shown.
COMMANDS = (
    run.COMMAND,
    generate.COMMAND,
    solve.COMMAND,
    verify.COMMAND,
    finetune.COMMAND,
    evaluate.COMMAND,
    pack.COMMAND,
    unpack.COMMAND,
    pretrain.COMMAND,
    p3.COMMAND,
    import_model.COMMAND,
    merge.COMMAND,
    models.COMMAND,
    export.COMMAND,
    report.COMMAND,
    study.COMMAND,
    power.COMMAND,
    memory.COMMAND,
    export_data.COMMAND,
    plan.COMMAND,
    doctor.COMMAND,
    bench.COMMAND,
)
