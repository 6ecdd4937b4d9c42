"""Flask with Flask-Session keeping its sessions in Redis: log in and out, expiry, many users, one session a user."""

import datetime
import unittest
import uuid

import flask
import flask_session
import redis
import support

PREFIX = "flask:"


def make_app(r, lifetime=datetime.timedelta(hours=1), signer=False):
    """A small site: a basket in the session, and a login that ends the user's earlier sessions."""
    app = flask.Flask("site")
    app.config.update(
        SECRET_KEY="only for this test",
        SESSION_TYPE="redis",
        SESSION_REDIS=r,
        SESSION_KEY_PREFIX=PREFIX,
        SESSION_USE_SIGNER=signer,
        PERMANENT_SESSION_LIFETIME=lifetime,
    )
    flask_session.Session(app)

    @app.post("/login/<user>")
    def login(user):
        flask.session["user"] = user
        flask.session["basket"] = []
        return "hello " + user

    @app.post("/login-once/<user>")
    def login_once(user):
        flask.session["user"] = user
        mine = flask.session.sid
        old = r.set("flask-user:" + user, mine, ex=3600, get=True)
        if old is not None and old.decode() != mine:
            r.delete(PREFIX + old.decode())
        return mine

    @app.post("/logout")
    def logout():
        flask.session.clear()
        return "bye"

    @app.get("/me")
    def me():
        return flask.session.get("user", "nobody")

    @app.post("/basket/<thing>")
    def put(thing):
        flask.session["basket"] = flask.session["basket"] + [thing]
        return ",".join(flask.session["basket"])

    @app.post("/blob/<int:size>")
    def blob(size):
        flask.session["blob"] = support.pattern(size)
        return "kept"

    @app.get("/blob")
    def blob_back():
        return flask.session["blob"]

    return app


class FlaskSessions(unittest.TestCase):
    def setUp(self):
        self.r = redis.Redis(support.HOST, support.PORT, socket_timeout=30)
        self.addCleanup(self.r.connection_pool.disconnect)
        for key in self.r.scan_iter(PREFIX + "*"):
            self.r.delete(key)
        self.app = make_app(self.r)

    def kept(self):
        """The keys of all sessions there are."""
        return set(self.r.scan_iter(PREFIX + "*", count=1000))

    def test_login_and_logout(self):
        browser, stranger = self.app.test_client(), self.app.test_client()
        self.assertEqual(browser.get("/me").text, "nobody")
        self.assertEqual(browser.post("/login/ann").text, "hello ann")
        self.assertEqual((browser.get("/me").text, stranger.get("/me").text), ("ann", "nobody"))
        before = self.kept()
        self.assertEqual(browser.post("/logout").text, "bye")
        self.assertEqual(browser.get("/me").text, "nobody")
        self.assertEqual(len(before - self.kept()), 1)

    def test_a_session_outlives_the_program(self):
        browser = self.app.test_client()
        browser.post("/login/bob")
        browser.post("/basket/tea")
        name = self.app.config["SESSION_COOKIE_NAME"]
        value = next(c.value for c in browser.cookie_jar if c.name == name)
        again = make_app(redis.Redis(support.HOST, support.PORT)).test_client()
        again.set_cookie("localhost", name, value)
        self.assertEqual(again.get("/me").text, "bob")
        self.assertEqual(again.post("/basket/milk").text, "tea,milk")
        self.assertEqual(browser.post("/basket/sugar").text, "tea,milk,sugar")

    def test_expiry(self):
        app = make_app(self.r, datetime.timedelta(seconds=3))
        browser = app.test_client()
        browser.post("/login/cat")
        (key,) = self.kept()
        self.assertTrue(0 < self.r.pttl(key) <= 3000)
        support.wait_until(lambda: not self.r.exists(key), "the session to expire")
        self.assertEqual(browser.get("/me").text, "nobody")

    def test_every_request_renews_the_lifetime(self):
        browser = self.app.test_client()
        browser.post("/login/dan")
        key = next(key for key in self.kept() if b"dan" in self.r.get(key))
        self.r.expire(key, 10)
        browser.get("/me")
        self.assertGreater(self.r.ttl(key), 3500)

    def test_signed_cookies(self):
        app = make_app(self.r, signer=True)
        browser = app.test_client()
        browser.post("/login/eve")
        self.assertEqual(browser.get("/me").text, "eve")
        (sid,) = [key[len(PREFIX) :].decode() for key in self.kept() if b"eve" in (self.r.get(key) or b"")]
        forger = app.test_client()
        forger.set_cookie("localhost", app.config["SESSION_COOKIE_NAME"], sid)  # known, but without the signature
        self.assertEqual(forger.get("/me").text, "nobody")

    def test_big_sessions(self):
        browser = self.app.test_client()
        for size in (70000, 2 << 20):
            browser.post("/blob/%d" % size)
            self.assertTrue(browser.get("/blob").data == support.pattern(size))

    def test_many_users_at_once(self):
        def use(first):
            for i in range(first, first + 40):
                browser = self.app.test_client()
                self.assertEqual(browser.post("/login/user%d" % i).text, "hello user%d" % i)
                for n in range(3):
                    basket = ",".join("%d-%d" % (i, k) for k in range(n + 1))
                    self.assertEqual(browser.post("/basket/%d-%d" % (i, n)).text, basket)
                self.assertEqual(browser.get("/me").text, "user%d" % i)
                if i % 4 == 0:
                    browser.post("/logout")

        with support.Threads() as threads:
            for part in range(6):
                threads.start(use, part * 40)
        users = sorted(int(self.r.get(key).split(b"user")[-1].split(b"\x94")[0]) for key in self.kept())
        self.assertEqual(users, [i for i in range(240) if i % 4])

    def test_one_session_a_user(self):
        browsers = [self.app.test_client() for _ in range(6)]
        user = "solo-" + uuid.uuid4().hex

        def login(browser):
            browser.post("/login-once/" + user)

        with support.Threads() as threads:
            for browser in browsers:
                threads.start(login, browser)
        last = self.app.test_client()
        sid = last.post("/login-once/" + user).text
        self.assertEqual(last.get("/me").text, user)
        self.assertEqual(self.r.get("flask-user:" + user).decode(), sid)
        first = self.app.test_client()
        first.post("/login-once/" + user)
        self.assertEqual((first.get("/me").text, last.get("/me").text), (user, "nobody"))


if __name__ == "__main__":
    support.main()
