"""The suite `training`: whole training steps of small networks."""
