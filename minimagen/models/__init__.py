"""Networks: tensors and conditioning in, tensors out. They know no data, no noise law, no device."""
