"""The built-in data set: videos of people drawn by code, whose expressions are known to the frame.

``people`` says who they are, ``portraits`` paints their heads, ``faces`` draws a frame, ``scripts`` decides what they
do in a video, ``dataset`` writes the files. All of it follows from one seed; nothing is fetched.
"""

from data_prep.synthetic.dataset import FIRST_STILL, stills, write
from data_prep.synthetic.people import identity
from data_prep.synthetic.scripts import CLASSES, script

__all__ = ["CLASSES", "FIRST_STILL", "identity", "script", "stills", "write"]
