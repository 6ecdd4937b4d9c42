'use strict';
/* Every ioredis of package.json, in each protocol that it speaks: what the programs loop over. */

module.exports = [
  { name: 'ioredis 5', Redis: require('ioredis'), options: {} },
  { name: 'ioredis 6', Redis: require('ioredis6'), options: { protocol: 2 } },
  { name: 'ioredis 6 RESP3', Redis: require('ioredis6'), options: { protocol: 3 } },
];
