'use strict';
/*
 * socket.io over several servers that know of each other only through publish and subscribe: the ordinary adapter and the
 * sharded one, on node-redis and on ioredis.
 */

const { assert, test, range, until, once, inbox, ioredisMaker, nodeRedisMaker } = require('./support');
const nodeTest = require('node:test');
const http = require('node:http');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { createAdapter, createShardedAdapter } = require('@socket.io/redis-adapter');

const ioredis = ioredisMaker(require('ioredis'));
const nodeRedis4 = nodeRedisMaker(require('redis4'));
const nodeRedis5 = nodeRedisMaker(require('redis5'));
const nodeRedis6 = nodeRedisMaker(require('redis'));
const retrying = { maxRetriesPerRequest: null };

const pairOf = async (connect) => [await connect(), await connect()];
const adapters = [
  { name: 'adapter on ioredis', make: createAdapter, pair: async () => [ioredis(retrying), ioredis(retrying)] },
  { name: 'adapter on node-redis 4', make: createAdapter, pair: () => pairOf(nodeRedis4) },
  { name: 'adapter on node-redis 6', make: createAdapter, pair: () => pairOf(nodeRedis6) },
  { name: 'sharded adapter on node-redis 4', make: createShardedAdapter, pair: () => pairOf(nodeRedis4) },
  { name: 'sharded adapter on node-redis 5', make: createShardedAdapter, pair: () => pairOf(nodeRedis5) },
  {
    name: 'sharded adapter on ioredis, private rooms too',
    make: (publisher, subscriber, options) =>
      createShardedAdapter(publisher, subscriber, { ...options, subscriptionMode: 'dynamic-private' }),
    pair: async () => [ioredis(retrying), ioredis(retrying)],
  },
];

const servers = [];
const sockets = [];
nodeTest.after(() => {
  sockets.forEach((socket) => socket.disconnect());
  servers.forEach((server) => server.close());
});

async function serve(adapter) {
  const server = http.createServer();
  const hub = new Server(server, { adapter });
  servers.push(hub);
  hub.on('connection', (socket) => {
    socket.on('join', (room, done) => Promise.resolve(socket.join(room)).then(() => done()));
    socket.on('leave', (room, done) => Promise.resolve(socket.leave(room)).then(() => done()));
    socket.on('say', (room, text) => socket.to(room).emit('said', text));
    socket.data.port = server.address().port;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  hub.url = `http://127.0.0.1:${server.address().port}`;
  return hub;
}

async function join(hub, ...rooms) {
  const socket = io(hub.url, { transports: ['websocket'], forceNew: true, reconnection: false });
  sockets.push(socket);
  await once(socket, 'connect');
  for (const room of rooms) await socket.emitWithAck('join', room);
  const box = inbox();
  socket.onAny(box.push);
  return { socket, box, id: socket.id };
}

for (const { name, make, pair } of adapters) {
  const key = `io-${name.replace(/[ ,]+/g, '-')}`;
  const options = { key, channelPrefix: key, requestsTimeout: 20000 };
  const cluster = async (n) => {
    const hubs = await Promise.all(range(n).map(async () => serve(make(...(await pair()), options))));
    await until(async () => {
      const counts = await Promise.all(hubs.map((hub) => hub.of('/').adapter.serverCount()));
      return counts.every((count) => Number(count) === n);
    }, `${n} servers to see each other`);
    return hubs;
  };
  const leave = (hubs) => Promise.all(hubs.map((hub) => hub.close()));

  test(`${name}: broadcasts and rooms over two servers`, async () => {
    const hubs = await cluster(2);
    const a = await join(hubs[0], 'red', 'all');
    const b = await join(hubs[1], 'red', 'all');
    const c = await join(hubs[1], 'blue', 'all');
    // a room's channel is subscribed to in the background: from here on it is
    const reaches = (hub, room, who) =>
      until(async () => {
        hub.to(room).emit('probe');
        return who.box.calls.some(([event]) => event === 'probe');
      }, `${room} to be known`);
    await reaches(hubs[0], 'red', b);
    await reaches(hubs[1], 'red', a);
    await reaches(hubs[0], 'blue', c);
    await reaches(hubs[0], 'all', b);
    await reaches(hubs[0], c.id, c);
    hubs[0].emit('news', { n: 1, raw: Buffer.from([0, 255, 13, 10]) });
    hubs[1].to('red').emit('to red', 'x');
    a.socket.emit('say', 'red', 'hello');
    hubs[0].to('red').except('all').emit('nobody');
    hubs[0].to(c.id).emit('private', 'psst');
    const heard = (who, n) =>
      until(() => who.box.calls.filter(([event]) => event !== 'probe').length >= n, `${n} events`).then(() =>
        who.box.calls.filter(([event]) => event !== 'probe').map(([event]) => event).sort()
      );
    assert.deepEqual(await heard(a, 2), ['news', 'to red']);
    assert.deepEqual(await heard(b, 3), ['news', 'said', 'to red']);
    assert.deepEqual(await heard(c, 2), ['news', 'private']);
    const [, news] = c.box.calls.find(([event]) => event === 'news');
    assert.deepEqual([news.n, [...news.raw]], [1, [0, 255, 13, 10]]);
    await leave(hubs);
  });

  test(`${name}: fetchSockets, socketsJoin, socketsLeave, serverSideEmit, disconnectSockets over three servers`, async () => {
    const hubs = await cluster(3);
    const clients = await Promise.all(range(6).map((i) => join(hubs[i % 3], i < 4 ? 'most' : 'few')));
    const ids = async (hub, room) => (await hub.in(room).fetchSockets()).map(({ id }) => id).sort();
    assert.deepEqual(await ids(hubs[0], 'most'), clients.slice(0, 4).map(({ id }) => id).sort());
    const ports = (await hubs[2].fetchSockets()).map(({ data }) => data.port);
    assert.equal(new Set(ports).size, 3);
    hubs[0].in('few').socketsJoin('most');
    await until(async () => (await ids(hubs[1], 'most')).length === 6, 'six in the room');
    hubs[1].in('most').socketsLeave('most');
    await until(async () => (await ids(hubs[2], 'most')).length === 0, 'nobody in the room');
    hubs.forEach((hub, i) => hub.on('sum', (n, done) => done(n + i)));
    assert.deepEqual((await hubs[0].serverSideEmitWithAck('sum', 10)).sort(), [11, 12]);
    const replies = hubs[0].timeout(20000).emitWithAck('ask');
    clients.forEach(({ socket }, i) => socket.on('ask', (done) => done(i)));
    assert.deepEqual((await replies).sort(), range(6));
    const gone = Promise.all(clients.map(({ socket }) => once(socket, 'disconnect')));
    hubs[2].disconnectSockets(true);
    await gone;
    await leave(hubs);
  });
}

test('500 messages in one room arrive once and in order at 12 clients of 3 servers', async () => {
  const adapter = async () => createShardedAdapter(...(await pairOf(nodeRedis6)), { channelPrefix: 'io-order' });
  const hubs = await Promise.all(range(3).map(async () => serve(await adapter())));
  const clients = await Promise.all(range(12).map((i) => join(hubs[i % 3], 'room')));
  await until(async () => {
    hubs[0].to('room').emit('probe');
    hubs[1].to('room').emit('probe');
    return clients.every(({ box }) => box.calls.some(([event]) => event === 'probe'));
  }, 'the room to be known');
  for (const n of range(500)) hubs[0].to('room').emit('n', n);
  for (const { box } of clients) {
    const numbers = () => box.calls.filter(([event]) => event === 'n').map(([, n]) => n);
    await until(() => numbers().length >= 500, 'all messages');
    assert.deepEqual(numbers(), range(500));
  }
});
