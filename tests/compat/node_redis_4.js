'use strict';
/* node-redis 4, RESP2. */
require('./node_redis_suite')(require('redis4'));
