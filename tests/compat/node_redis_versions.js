'use strict';
/* Every node-redis of package.json, in each protocol that it speaks: what the programs loop over. */

/* The limit of 5 s that version 6 sets for a command is not for a machine that runs many tests at once. */
const commandOptions = { timeout: 60000 };

module.exports = [
  { name: 'node-redis 4', redis: require('redis4'), old: true },
  { name: 'node-redis 5', redis: require('redis5'), options: { RESP: 2 } },
  { name: 'node-redis 5 RESP3', redis: require('redis5'), options: { RESP: 3, unstableResp3: true } },
  { name: 'node-redis 6', redis: require('redis'), options: { RESP: 2, commandOptions } },
  { name: 'node-redis 6 RESP3', redis: require('redis'), options: { RESP: 3, commandOptions } },
];
