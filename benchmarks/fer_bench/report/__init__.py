"""Reports for people: tables, charts, pages, and the comparison of two reports."""
