"""Training one U-Net: the loop, its optimiser, its averages, and the states from which it goes on."""
