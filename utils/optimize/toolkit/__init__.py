"""What chapter 02 shows of the Model Optimization Toolkit and of what lies beneath it."""
