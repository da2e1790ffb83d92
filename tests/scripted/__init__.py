"""Cameras that follow a script, over TCP, UDP, HTTP and RTMP: a report becomes a test in ten lines.

    def script(camera: Sending) -> None:
        camera.play(flv[:50])  # two seconds in real time
        camera.wait(4)  # a stall
        camera.send(b"".join(flv[50:150]))  # what piled up
        camera.play(flv[150:])

    with ScriptedServer(script) as server, RunningSource(make_source("gate", config)) as source:
        frames = source.wait_for_frames(200)

``media`` makes what they send. For RTSP there is ``tests.integration.rtsp.scripted_server``.
"""
