"""Record a video with boxes and labels, which shows the people in view: python annotate.py [SOURCE [annotated.webm]]"""

import sys
from pathlib import Path

from fer_edge import AnnotatedVideo, Annotator, Pipeline, load_bundle, open_source

source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")
source.keep_colour = True
bundle = load_bundle()
path = Path(sys.argv[2] if len(sys.argv) > 2 else "annotated.webm")

annotator = Annotator(bundle.manifest.labels)
with AnnotatedVideo(path, source.fps) as video:
    for result in Pipeline.from_bundle(bundle).open(source):
        video.write(annotator.draw(result), result.frame.captured_at)
print(path)
