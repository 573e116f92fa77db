"""What the figures of an evaluation mean: marks with printed rules, plain sentences, an order by merit."""
