"""The data set of the face check: ``python -m fer_train.data.face_check OUT`` writes it; see train/README.md."""
