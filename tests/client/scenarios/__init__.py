"""What the client must do: functions that take a Pair and return what is worth telling."""
