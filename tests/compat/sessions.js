'use strict';
/*
 * express-session kept by connect-redis, over HTTP with cookies: what a web application does. A store is made from
 * node-redis as it comes, and from ioredis by the few calls that connect-redis makes.
 */

const { assert, test, range, until, once, ioredisMaker, nodeRedisMaker } = require('./support');
const nodeTest = require('node:test');
const express = require('express');
const session = require('express-session');
const { RedisStore } = require('connect-redis');
const Redis = require('ioredis');

/* connect-redis calls node-redis: the same calls on ioredis. */
const adapt = (redis) => ({
  get: (key) => redis.get(key),
  set: (key, value, { expiration }) => redis.set(key, value, expiration.type, expiration.value),
  expire: (key, seconds) => redis.expire(key, seconds),
  del: (keys) => redis.del(...keys),
  mGet: (keys) => redis.mget(...keys),
  scanIterator: ({ MATCH, COUNT }) => redis.scanStream({ match: MATCH, count: COUNT }),
});

const connectIoredis = ioredisMaker(Redis);
const connectNodeRedis = Object.fromEntries(
  [['4', 'redis4'], ['5', 'redis5'], ['6', 'redis']].map(([version, library]) => [version, nodeRedisMaker(require(library))])
);

/* connect-redis 9 gives EX in node-redis 5's words, which 4 does not read. */
const forFour = (client) => ({
  ...adapt({}),
  get: (key) => client.get(key),
  set: (key, value, { expiration }) => client.set(key, value, { EX: expiration.value }),
  expire: (key, seconds) => client.expire(key, seconds),
  del: (keys) => client.del(keys),
  mGet: (keys) => client.mGet(keys),
  scanIterator: async function* (options) {
    for await (const key of client.scanIterator(options)) yield [key];
  },
});

const stores = [
  { name: 'node-redis 4', client: async () => forFour(await connectNodeRedis['4']()) },
  { name: 'node-redis 5', client: () => connectNodeRedis['5']() },
  { name: 'node-redis 6', client: () => connectNodeRedis['6']() },
  { name: 'ioredis', client: async () => adapt(connectIoredis()) },
];

const servers = [];
nodeTest.after(() => servers.forEach((server) => (server.closeAllConnections(), server.close())));

/* The application: a login remembers which session its user has, and ends the one before. */
async function start(client, prefix) {
  const redis = connectIoredis();
  const store = new RedisStore({ client, prefix: `${prefix}sess:` });
  const app = express();
  app.use(session({ store, secret: 'a secret', resave: false, saveUninitialized: false, cookie: { maxAge: 600000 } }));
  app.post('/login/:user', async (req, res, next) => {
    try {
      const key = `${prefix}user:${req.params.user}`;
      req.session.user = req.params.user;
      req.session.visits = 0;
      await new Promise((done, failed) => req.session.save((e) => (e ? failed(e) : done())));
      const old = await redis.set(key, req.sessionID, 'EX', 600, 'GET');
      if (old && old !== req.sessionID) await store.destroy(old);
      res.json({ id: req.sessionID });
    } catch (e) {
      next(e);
    }
  });
  app.get('/me', (req, res) => {
    if (!req.session.user) return res.status(401).end();
    req.session.visits += 1;
    res.json({ user: req.session.user, visits: req.session.visits });
  });
  app.post('/logout', (req, res, next) => req.session.destroy((e) => (e ? next(e) : res.end())));
  const server = app.listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  return { store, redis, url: `http://127.0.0.1:${server.address().port}` };
}

/* One browser: it keeps its cookie. */
function browser(url) {
  let cookie;
  return async (method, path) => {
    const response = await fetch(url + path, { method, headers: cookie ? { cookie } : {} });
    const set = response.headers.get('set-cookie');
    if (set) cookie = set.split(';')[0];
    const text = await response.text();
    return { status: response.status, body: text && response.status === 200 ? JSON.parse(text) : text };
  };
}

for (const { name, client } of stores) {
  const prefix = `${name.replace(/ /g, '-')}:`;

  test(`${name}: login, 20 visits, the time to live, logout`, async () => {
    const { store, redis, url } = await start(await client(), prefix);
    const ask = browser(url);
    assert.equal((await ask('GET', '/me')).status, 401);
    const { id } = (await ask('POST', '/login/ann')).body;
    for (const i of range(20)) assert.deepEqual((await ask('GET', '/me')).body, { user: 'ann', visits: i + 1 });
    const ttl = await redis.ttl(`${prefix}sess:${id}`);
    assert.ok(ttl > 590 && ttl <= 600, `ttl ${ttl}`);
    assert.deepEqual((await store.ids()).includes(id), true);
    await ask('POST', '/logout');
    assert.equal(await redis.exists(`${prefix}sess:${id}`), 0);
    assert.equal((await ask('GET', '/me')).status, 401);
    await store.clear();
  });

  test(`${name}: one session a user: the second login ends the first`, async () => {
    const { store, redis, url } = await start(await client(), prefix);
    const [laptop, phone] = [browser(url), browser(url)];
    await laptop('POST', '/login/bob');
    assert.equal((await laptop('GET', '/me')).status, 200);
    const { id } = (await phone('POST', '/login/bob')).body;
    assert.equal((await laptop('GET', '/me')).status, 401);
    assert.deepEqual((await phone('GET', '/me')).body, { user: 'bob', visits: 1 });
    assert.equal(await redis.get(`${prefix}user:bob`), id);
    // a session is saved before it is named, and SET GET names each to one successor: of many at once one is left
    const many = range(20).map(() => browser(url));
    await Promise.all(many.map((ask) => ask('POST', '/login/eve')));
    const alive = async () => (await Promise.all(many.map((ask) => ask('GET', '/me')))).filter(({ status }) => status === 200).length;
    const last = await redis.get(`${prefix}user:eve`);
    assert.equal(await alive(), 1);
    assert.equal(await redis.exists(`${prefix}sess:${last}`), 1);
    await store.clear();
  });

  test(`${name}: 100 users at once; all, ids, length and clear of the store`, async () => {
    const { store, url } = await start(await client(), prefix);
    await Promise.all(
      range(100).map(async (u) => {
        const ask = browser(url);
        await ask('POST', `/login/user${u}`);
        assert.deepEqual((await ask('GET', '/me')).body, { user: `user${u}`, visits: 1 });
      })
    );
    assert.equal(await store.length(), 100);
    const all = await store.all();
    assert.deepEqual(all.map(({ user }) => user).sort(), range(100).map((u) => `user${u}`).sort());
    await store.clear();
    assert.equal(await store.length(), 0);
  });

  test(`${name}: touch moves the time to live, an expired session is gone`, async () => {
    const { store, redis, url } = await start(await client(), prefix);
    const ask = browser(url);
    const { id } = (await ask('POST', '/login/tom')).body;
    await redis.expire(`${prefix}sess:${id}`, 100);
    await ask('GET', '/me');
    assert.ok((await redis.ttl(`${prefix}sess:${id}`)) > 500);
    await store.touch(id, { cookie: { expires: new Date(Date.now() + 50000) } });
    assert.ok((await redis.ttl(`${prefix}sess:${id}`)) <= 50);
    await redis.pexpire(`${prefix}sess:${id}`, 1);
    await until(async () => (await redis.exists(`${prefix}sess:${id}`)) === 0, 'the end of the session');
    assert.equal((await ask('GET', '/me')).status, 401);
    await store.clear();
  });
}
