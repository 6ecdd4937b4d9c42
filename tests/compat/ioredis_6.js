'use strict';
/* ioredis 6, with the protocol that it asks for by itself: the cases of ioredis 5. */
process.env.KEYWAY_IOREDIS = 'ioredis6';
require('./ioredis');
require('./ioredis_edges');
