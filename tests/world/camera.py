"""A network camera: an RTSP server with a test picture, on the given port of the loopback address; 0 is a free one.

Prints its port once it listens. It stands in for the cameras of recording rooms: H.264, no B-frames, a
key frame every second, 1280x720 at 25 frames per second, and a ball whose place is a function of the wall clock.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

PIPELINE = (
    "( videotestsrc is-live=true pattern=ball animation-mode=wall-time background-color=0xff2f6f4f "
    "! video/x-raw,format=I420,width=1280,height=720,framerate=25/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast bitrate=2000 key-int-max=25 threads=1 "
    "! video/x-h264,profile=constrained-baseline ! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def main():
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    # One picture for all viewers, as a real camera has one sensor; also one encoder's worth of CPU.
    factory.set_shared(True)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        sys.exit("the camera found no port to listen on")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


main()
