"""Worth of rows: a bagged committee, its divergences, and the qualities made of them."""
