"""One file a process: what it is given, opened in order and closed in reverse. Connections are made here."""
