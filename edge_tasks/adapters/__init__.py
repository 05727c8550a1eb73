"""The world outside: Google's services, DVC, Git and the local servers. Their errors become EdgeError here."""
