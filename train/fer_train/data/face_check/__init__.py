"""The data set of the face check, written by ``python -m fer_train.data.face_check OUT``; see train/README.md."""
