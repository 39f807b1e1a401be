"""Files of the field: tables (CSV, Excel), predictions, STRS, MEGC, ActivityNet, ELAN, subtitles, JSON."""
