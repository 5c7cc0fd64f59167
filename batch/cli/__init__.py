"""Commands of the batch side; `streamproc` finds them by the entry points `streamproc.commands`."""
