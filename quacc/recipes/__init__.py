"""Jobs in the folder of each calculator, and the workflows that are made of them."""
