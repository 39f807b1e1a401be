"""A browser without a window, for the tests of pages."""

import json
import os
import shutil
import subprocess
import sys
import threading

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


class Browser:
    """Chromium without a window, led through two pipes by its DevTools protocol."""

    def __init__(self, home):
        theirs, self.to = os.pipe()
        self.source, answers = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-pipe"]
        command = [sys.executable, "-c", START, str(theirs), str(answers), BROWSER, *options, f"--user-data-dir={home}"]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, pass_fds=(theirs, answers), stdout=quiet, stderr=quiet)
        os.close(theirs), os.close(answers)
        self.timer = threading.Timer(600, self.process.kill)
        self.timer.start()
        self.rest, self.count, self.session, self.requests = b"", 0, None, []

    def ask(self, method, **values):
        self.count += 1
        message = {"id": self.count, "method": method, "params": values}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                more = os.read(self.source, 1 << 20)
                assert more, "the browser is gone"
                self.rest += more
            line, _, self.rest = self.rest.partition(b"\0")
            answer = json.loads(line)
            if answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, path, width=1200, height=1000):
        self.session, self.requests = None, []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.ask("Network.enable")
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.ask("Page.navigate", url=path.as_uri())
        there = "document.readyState === 'complete' && location.protocol === 'file:'"
        assert self.run(f"new Promise(go => {{ (function f() {{ {there} ? go(true) : setTimeout(f, 20) }})() }})")

    def run(self, code):
        answer = self.ask("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key, alt=False, control=False, shift=False):
        text = {"text": {"Enter": "\r", "Space": " "}[key]} if key in ("Enter", "Space") else {}
        known = {"Enter": 13, "Space": 32, "Tab": 9, "ArrowRight": 39, "ArrowLeft": 37, "Delete": 46}
        values = {"key": " " if key == "Space" else key, "code": key}
        values |= {
            "windowsVirtualKeyCode": known.get(key, ord(key[0].upper())),
            "modifiers": alt + 2 * control + 8 * shift,
        }
        self.ask("Input.dispatchKeyEvent", type="keyDown", **values, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **values)

    def click(self, selector, x=0.5, y=0.5):
        box = self.run(f"""(() => {{ const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{ block: "center", inline: "center" }});
            const box = one.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; }})()""")
        at = {"x": box[0] + x * box[2], "y": box[1] + y * box[3], "button": "left", "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type="mousePressed", **at)
        self.ask("Input.dispatchMouseEvent", type="mouseReleased", **at)

    def drag(self, selector, x, shift):
        """Drags a point of an element, ``x`` from 0 to 1 of its width, by so many pixels."""
        box = self.run(f"""(() => {{ const one = document.querySelector({json.dumps(selector)});
            one.scrollIntoView({{ block: "center", inline: "center" }});
            const box = one.getBoundingClientRect(); return [box.left, box.top, box.width, box.height]; }})()""")
        x, y = box[0] + x * box[2], box[1] + box[3] - 6
        for kind, at in (
            ("mousePressed", x),
            ("mouseMoved", x + shift / 2),
            ("mouseMoved", x + shift),
            ("mouseReleased", x + shift),
        ):
            self.ask("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left", buttons=1, clickCount=1)

    def close(self):
        self.timer.cancel()
        self.process.terminate()
        self.process.wait()
        os.close(self.to), os.close(self.source)
