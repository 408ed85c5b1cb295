"""What other tools load: functions by their interfaces, results in their files."""
