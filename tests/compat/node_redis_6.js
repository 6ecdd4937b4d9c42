'use strict';
/* node-redis 6, with the protocol that it asks for by itself; its limit of 5 s a command is not for a machine that tests. */
require('./node_redis_suite')(require('redis'), { commandOptions: { timeout: 60000 } });
