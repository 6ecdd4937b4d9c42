'use strict';
/* graphql-redis-subscriptions: events of a GraphQL server that go through publish and subscribe. */

const { assert, test, host, port, range, until, inbox } = require('./support');
const nodeTest = require('node:test');
const Redis = require('ioredis');
const { RedisPubSub } = require('graphql-redis-subscriptions');
const { withFilter } = require('graphql-subscriptions');
const { buildSchema, parse, subscribe: subscribeTo } = require('graphql');

const opened = [];
nodeTest.after(() => Promise.all(opened.map((pubsub) => pubsub.close().catch(() => {}))));

function connect(options = {}) {
  const pubsub = new RedisPubSub({ connection: { host, port }, ...options });
  opened.push(pubsub);
  return pubsub;
}

test('publish and subscribe: two servers, two listeners on one trigger, unsubscribe', async () => {
  const [one, two] = [connect(), connect()];
  const [first, second, other] = [inbox(), inbox(), inbox()];
  const id = await one.subscribe('POSTED', first.push);
  await one.subscribe('POSTED', second.push);
  await two.subscribe('POSTED', other.push);
  await two.publish('POSTED', { text: 'Größe 漢字', n: 1 });
  await Promise.all([first, second, other].map((box) => box.wait(1)));
  one.unsubscribe(id);
  await one.publish('POSTED', { n: 2 });
  const expected = [[{ text: 'Größe 漢字', n: 1 }], [{ n: 2 }]];
  assert.deepEqual(await second.wait(2), expected);
  assert.deepEqual(await other.wait(2), expected);
  assert.deepEqual(first.calls, expected.slice(0, 1));
});

test('patterns', async () => {
  const pubsub = connect();
  const box = inbox();
  await pubsub.subscribe('comments.*', box.push, { pattern: true });
  await pubsub.publish('comments.7.added', { id: 7 });
  await pubsub.publish('posts.7.added', { id: 0 });
  await pubsub.publish('comments.8.added', { id: 8 });
  assert.deepEqual(await box.wait(2), [[{ id: 7 }], [{ id: 8 }]]);
});

test('triggers made from arguments, a prefix, own serializer, given clients', async () => {
  const subscriber = new Redis({ host, port });
  const publisher = new Redis({ host, port });
  const pubsub = connect({
    publisher,
    subscriber,
    triggerTransform: (trigger, { path } = {}) => [trigger, ...(path ?? [])].join('/'),
    serializer: (value) => Buffer.from(JSON.stringify(value)).toString('base64'),
    deserializer: (text) => JSON.parse(Buffer.from(String(text), 'base64')),
  });
  const box = inbox();
  await pubsub.subscribe('room', box.push, { path: ['7'] });
  await pubsub.publish('room/8', { n: 'other room' });
  await pubsub.publish('room/7', { n: 1 });
  assert.deepEqual(await box.wait(1), [[{ n: 1 }]]);
});

test('asyncIterator over two triggers, and its end', async () => {
  const pubsub = connect();
  const observer = new Redis({ host, port });
  const iterator = pubsub.asyncIterator(['ADDED', 'REMOVED']);
  const pending = iterator.next();
  const subscribers = async () => (await observer.pubsub('NUMSUB', 'ADDED', 'REMOVED')).filter((_, i) => i % 2).join();
  await until(async () => (await subscribers()) === '1,1', 'both subscriptions');
  await pubsub.publish('ADDED', { n: 1 });
  assert.deepEqual(await pending, { value: { n: 1 }, done: false });
  for (const n of range(50)) await pubsub.publish(n % 2 ? 'ADDED' : 'REMOVED', { n });
  for (const n of range(50)) assert.deepEqual((await iterator.next()).value, { n });
  assert.deepEqual(await iterator.return(), { value: undefined, done: true });
  await until(async () => (await subscribers()) === '0,0', 'the end of both');
  observer.disconnect();
});

test('a GraphQL subscription with a filter', async () => {
  const pubsub = connect();
  const observer = new Redis({ host, port });
  const schema = buildSchema(`
    type Query { a: Int }
    type Message { room: Int text: String }
    type Subscription { message(room: Int): Message }
  `);
  const filtered = withFilter(
    () => pubsub.asyncIterator('MESSAGE'),
    ({ message }, { room }) => message.room === room
  );
  const field = schema.getSubscriptionType().getFields().message;
  field.subscribe = filtered;
  const document = parse('subscription { message(room: 7) { room text } }');
  const results = await subscribeTo({ schema, document });
  const next = results.next();
  await until(async () => (await observer.pubsub('NUMSUB', 'MESSAGE'))[1] === 1, 'the subscription');
  await pubsub.publish('MESSAGE', { message: { room: 8, text: 'not here' } });
  await pubsub.publish('MESSAGE', { message: { room: 7, text: 'here' } });
  const { value } = await next;
  assert.equal(JSON.stringify(value.data), '{"message":{"room":7,"text":"here"}}');
  await results.return();
  observer.disconnect();
});

test('40 servers hear every one of 200 events, in order', async () => {
  const servers = range(40).map(() => connect());
  const boxes = servers.map(() => inbox());
  await Promise.all(servers.map((server, i) => server.subscribe('ALL', boxes[i].push)));
  for (const n of range(200)) await servers[0].publish('ALL', { n });
  const all = await Promise.all(boxes.map((box) => box.wait(200)));
  assert.ok(all.every((calls) => calls.every(([{ n }], i) => n === i)));
});
