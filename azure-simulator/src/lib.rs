//! Azure Machine Learning on one machine.
