"""The folder of a training run.

    config.toml       the recipe with all defaults   history.jsonl   one line for each epoch
    checkpoint.keras  the latest epoch, resumable    best.keras      the epoch with the best validation accuracy
    data.json         the data sets, and since when  held.keras      the last epoch at the full learning rate
    model.keras       the model for inference        run.json        record of the data, the code and the accuracy
    curves.png        loss and accuracy by epoch     averaged.npz    mean weights of the last epochs, if those are used

``held.keras`` exists once the rate falls (``loop.cooldown_epochs``): a longer run starts from it.

An epoch is done when ``checkpoint.keras`` is renamed: that file also contains the history up to it. The other files of
an epoch are derived from it; ``open_run`` and ``complete_epoch`` write those again that a killed run did not write.
"""
