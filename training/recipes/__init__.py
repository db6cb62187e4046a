"""What is trained and how it is judged: for each profile its loss, its parts and its start."""
