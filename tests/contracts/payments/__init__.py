"""The payments contract, read line by line and asked over the wire."""
