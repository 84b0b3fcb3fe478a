"""The suite `sklearn`: whole fits of estimators with the interface of scikit-learn."""
