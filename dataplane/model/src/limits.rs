//! Every limit of the system, with its unit in its name and its reason beside it.
//!
//! A limit stands here when a stranger (a client, a backend, a tenant, a damaged
//! file) could otherwise make something grow. Relations that the code relies on
//! are asserted at compile time at the end of the file.

// --- what a client may send (HTTP.md "Requests") ---

/// Request line, in bytes without its CRLF. Longer: 414.
pub const REQUEST_LINE_BYTES_MAX: usize = 8 * 1024;

/// Head of a request, in bytes with its final empty line. Longer: 431.
pub const REQUEST_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Fields in the head of a request or response. More: 431, or 502 from a backend.
pub const FIELDS_MAX: usize = 100;

/// Options in all Connection fields of a head, and their bytes: each other field of the head is
/// looked for among them.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// See [`CONNECTION_OPTIONS_MAX`].
pub const CONNECTION_BYTES_MAX: usize = 1024;

/// Trailer section of one message, in bytes. Longer: 431, or a cut response.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

/// Chunk extensions of one message, in bytes in all. They mean nothing to us, so
/// they are only ever a way to make us read for free.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 4 * 1024;

/// Hexadecimal digits of a chunk size. Sixteen is all that fits 64 bits; a sender
/// that pads with zeros beyond that is refused rather than understood.
pub const CHUNK_SIZE_DIGITS_MAX: usize = 16;

/// Header of the PROXY protocol, in bytes. Version 1 sets 107 itself; version 2 has room for 64 KiB
/// of fields, of which real proxies use some hundred bytes. Longer: closed.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;

/// Cookies of a sticky pool's name that are looked at in one request: what each is compared with is
/// every backend of the pool. What comes behind them counts as unknown.
pub const STICKY_COOKIES_MAX: usize = 4;

// --- what a backend may send ---

/// Head of a response, in bytes with its final empty line. Longer: 502.
pub const RESPONSE_HEAD_BYTES_MAX: usize = 32 * 1024;

/// Interim (1xx) responses before a final one; more is a backend that loops: 502.
pub const INTERIM_RESPONSES_MAX: usize = 16;

// --- what a manifest may hold ---

/// A manifest's text, in bytes. Room for some hundred thousand sites.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Problems reported for one manifest. The rest are counted, so that a file of
/// the wrong kind does not fill a terminal.
pub const PROBLEMS_MAX: usize = 1000;

/// The fleet's secret, in bytes without white space around it. Fewer could be guessed; more say
/// nothing more, and are rather a file of something else.
pub const FLEET_SECRET_BYTES_MIN: usize = 32;

/// See [`FLEET_SECRET_BYTES_MIN`].
pub const FLEET_SECRET_BYTES_MAX: usize = 1024;

/// A name of ours: one DNS label (RFC 1035 §2.3.4), in bytes.
pub const NAME_BYTES_MAX: usize = 63;

/// A hostname without its trailing dot (RFC 1035 §2.3.4), in bytes.
pub const HOSTNAME_BYTES_MAX: usize = 253;

/// Hostnames of one site.
pub const HOSTNAMES_PER_SITE_MAX: usize = 1000;

/// Pools of one site.
pub const POOLS_PER_SITE_MAX: usize = 100;

/// Backends of one pool.
pub const BACKENDS_PER_POOL_MAX: usize = 1000;

/// Routes of one site; they are tried in order, so this bounds work per request.
pub const ROUTES_PER_SITE_MAX: usize = 1000;

/// Headers and parameters of queries that all routes of a site compare: each is looked for in all
/// of a request, so this bounds work per request, too.
pub const ROUTE_CONDITIONS_PER_SITE_MAX: usize = 100;

/// Methods of one route.
pub const METHODS_PER_ROUTE_MAX: usize = 32;

/// One path, URL, name or value of a route, in bytes.
pub const ROUTE_TEXT_BYTES_MAX: usize = 2048;

/// Fields that one table sets, adds and removes in all.
pub const FIELD_CHANGES_MAX: usize = 32;

/// Names and values of the fields that one table sets and adds, in bytes in all. What we write
/// stays a part of what a server takes for a head.
pub const FIELD_CHANGE_BYTES_MAX: usize = 4 * 1024;

/// The same of all routes of a site: they are kept in memory.
pub const FIELD_CHANGE_BYTES_PER_SITE_MAX: usize = 64 * 1024;

/// Body of an answer that a route gives, in bytes. It is kept in memory; larger ones
/// belong on a backend.
pub const RESPOND_BODY_BYTES_MAX: usize = 64 * 1024;

/// Bodies of all answers that the routes of a site give, in bytes.
pub const RESPOND_BODY_BYTES_PER_SITE_MAX: usize = 1024 * 1024;

/// Networks in `trusted_networks` or `deny_networks` of one site. Each is 8 bytes of memory, or
/// 32 in IPv6, on every host.
pub const SITE_NETWORKS_MAX: usize = 10_000;

/// Networks in `host.deny_networks`, and in `listen.proxy_protocol_from`.
pub const HOST_NETWORKS_MAX: usize = 100_000;

/// Requests per second, and requests of a burst, in `limits` of a tenant or a site. Beyond it the
/// time between two requests is less than the clock tells apart well.
pub const RATE_REQUESTS_MAX: u32 = 1_000_000;

/// The least that `limits.head` can be, in bytes: any client's plain request fits.
pub const HEAD_LIMIT_BYTES_MIN: usize = 1024;

/// Certificates of one chain, the leaf among them. Public chains have two to four; clients look at
/// ten or so at most.
pub const CERTIFICATE_CHAIN_MAX: usize = 10;

/// A chain with its key in DER, and a file of either in PEM, in bytes. A handshake message has at
/// most 64 KiB of certificates in rustls, and real chains have 3 to 8 KiB.
pub const CERTIFICATE_CONTENT_BYTES_MAX: usize = 64 * 1024;

/// See [`CERTIFICATE_CONTENT_BYTES_MAX`]. PEM is a third longer, and may have text around it.
pub const CERTIFICATE_FILE_BYTES_MAX: usize = 128 * 1024;

/// Names of one certificate, as many as a site may have.
pub const CERTIFICATE_NAMES_MAX: usize = HOSTNAMES_PER_SITE_MAX;

/// A certificate that holds for no longer than this is told of wherever one looks, in seconds.
/// Public ones are renewed 30 days before their end.
pub const CERTIFICATE_EXPIRES_SOON_S: i64 = 30 * 24 * 60 * 60;

/// Weight of a backend.
pub const BACKEND_WEIGHT_MAX: u32 = 65_535;

/// Workers of one plane of a host.
pub const WORKERS_MAX: u32 = 1024;

/// Listeners of one kind on one host. Each costs a socket per worker.
pub const LISTENERS_MAX: usize = 64;

/// Any timeout, in milliseconds: a day. Longer is a mistyped unit.
pub const TIMEOUT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Name servers of one host. Each is waited for in turn.
pub const RESOLVERS_MAX: usize = 8;

/// Octets that the records of one name and type of a zone have in a message at most: with the
/// question and the rest they fit into the longest one (RFC 1035 §4.2.2).
pub const RRSET_BYTES_MAX: usize = 60_000;

// --- DNS responder ---

/// CNAME records that are followed within a zone for one answer. What is further is for the
/// resolver to ask; a loop ends there too.
pub const CNAME_CHAIN_MAX: usize = 8;
/// Octets of a UDP response, whatever the client would take: it fits into one packet of nearly every
/// path (the DNS flag day of 2020).
pub const UDP_RESPONSE_BYTES_MAX: usize = 1232;
/// Octets of a UDP response to a client without a valid cookie, who may be somebody else (RFC 5358);
/// what every client has to take (RFC 1035 §4.2.1).
pub const UNPROVEN_RESPONSE_BYTES_MAX: usize = 512;
/// Client networks whose rate of responses one worker knows; 24 bytes each.
pub const RATE_NETWORKS_MAX: usize = 65_536;
/// Places that connections of clients are counted in, for all workers; 4 bytes each. Many more than
/// there are connections, so that hardly two clients share theirs.
pub const CLIENT_PLACES: usize = 262_144;
/// Octets of responses over TCP that are gathered before they are sent: those to a client that asks
/// much at once.
pub const GATHERED_RESPONSE_BYTES: usize = 16 * 1024;

/// A query over TCP, in octets; who announces a longer one is closed, counted as `dns_query_too_long`. A question
/// has at most 271 octets with its header, and nobody has so many options (RFC 7766 §6.2.2 leaves a server to close).
pub const DNS_TCP_QUERY_BYTES_MAX: usize = 4096;

/// Of the files that the responder may open, those that connections of clients are not given.
pub const DNS_FILES_KEPT: u64 = 256;
/// How long connections may go on that are in the midst of a message when a stop was asked for, in
/// milliseconds.
pub const DNS_DRAIN_MS: u64 = 2_000;

// --- shape of the hostname table ---

/// Shards of the hostname table: a change copies one shard and the spine of
/// pointers, so with 100,000 hostnames about a hundred entries and 8 KiB.
pub const HOSTNAME_SHARDS: usize = 1024;
/// Revisions of which it is remembered which sites they changed. A worker that is further behind
/// looks at all of its sites.
pub const REVISIONS_REMEMBERED: usize = 64;
/// Sites that a worker takes up at once. It goes through all of its sites for a revision that
/// changes more.
pub const CHANGED_SITES_AT_ONCE_MAX: usize = 64;
/// How much of that is done in one turn, in looks at one site: some ten microseconds.
pub const SWEEP_LOOKS_PER_TURN: usize = 512;
/// The longest that browsers may be told to ask for a site by HTTPS alone (`site.hsts.max_age`), in
/// seconds: 10 years. More is mostly a slip of the unit.
pub const HSTS_MAX_AGE_S_MAX: u64 = 10 * 365 * 24 * 60 * 60;

/// Shards of the table of certificates: a change copies one.
pub const CERTIFICATE_SHARDS: usize = 1024;
/// Shards of the tables by site: a change copies one.
pub const SITE_SHARDS: usize = 1024;

// --- memory of the data plane ---

/// Of a host's memory, the hundredths that the receive buffers of all workers may grow to. A worker
/// without one lets its receives wait, counted as `receive_without_buffer`.
pub const RECEIVE_MEMORY_PERCENT: u64 = 12;

/// Receive buffers that a worker may have however small the host is; about 70 MiB.
pub const RECEIVE_BUFFERS_LEAST: u16 = 1024;

// --- connections of the data plane ---

/// Descriptors that clients and backends leave alone: rings, listeners, files, the
/// local socket, lookups of names.
pub const DESCRIPTORS_RESERVED: u64 = 256;

/// Of the other descriptors of a plane, the hundredths that its clients may have; the rest is
/// for connections to backends and for health checks. Beyond it idle connections are closed while they
/// have so much of what is not in use: of the tenant that has most of them those that were idle longest,
/// counted as `client_connections`.
pub const CLIENT_DESCRIPTORS_PERCENT: u64 = 75;

/// One of so many of the idle connections is closed at once to make room, and one at least.
pub const IDLE_CLOSED_AT_ONCE_PART: u64 = 64;

/// Connections in use that a tenant may have on a worker, to clients and to backends, for each that is
/// left of those that the worker may have: three quarters of all for one tenant alone. A request that is
/// to be forwarded counts as both its ends from the start. What is more is
/// refused, counted as `limit_share`. Clients that have not said whose they are count as one tenant, and
/// those of a line of networks may have so many times what is left of its share: heads
/// beyond it that are not whole end, counted as `clients_turned_away`.
pub const SHARE_OF_LEFT: u64 = 3;

/// How long a client's connection that we end is read on, in milliseconds, so that our last
/// answer is not lost to a reset (RFC 9112 §9.6).
pub const LINGER_MS: u64 = 2_000;

/// Bytes that are read and thrown away in that time.
pub const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// The first message of a client that speaks TLS, in bytes; a longer one is refused, counted as
/// `tls_handshake_refused`. Browsers send 0.5 to 2 KiB, and nobody sends more than 16 KiB in good faith.
pub const TLS_HELLO_BYTES_MAX: usize = 16 * 1024;

/// What a client has sent in its handshake and is no whole message yet, in bytes. Longer: as above. A
/// certificate of its own would be the longest part of it.
pub const TLS_HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// What is kept of a record that came in part, in bytes; who sends messages in longer parts is told
/// so by an alert, and closed. A record has 16 KiB and a little (RFC 8446 §5.2), and behind it may stand the
/// beginning of a message.
pub const TLS_PARTIAL_BYTES_MAX: usize = 20 * 1024;

/// Handshakes that a worker has under way at a time; of these a network, a /24 or with IPv6 a /48, has no
/// more than are left. A further connection is closed, counted as `tls_handshakes_over_limit`. Each takes 6 KiB and as much as the client has sent so far.
pub const TLS_HANDSHAKES_PER_WORKER_MAX: usize = 8192;

/// Of these, those of one client: an address, or with IPv6 a /64. Counted as above. Behind one
/// address may be many people, whose handshakes last for two round trips.
pub const TLS_HANDSHAKES_PER_CLIENT_MAX: usize = 512;

/// Sites whose certificates and rules a worker keeps at hand; those that were not asked for lately are
/// read anew. Each has some 5 KiB with its certificate, once for all workers.
pub const SITE_CONFIGS_PER_WORKER_MAX: usize = 16 * 1024;

/// How long certificates that could not be read are not tried again, in milliseconds.
pub const CERTIFICATE_RETRY_MS: u64 = 1_000;

/// How long one key of session tickets gives tickets, in seconds; it takes them for as long again.
pub const TICKET_KEY_S: u32 = 6 * 60 * 60;

/// Idle connections that a worker keeps to one backend; more are closed after use.
pub const IDLE_UPSTREAM_CONNECTIONS_MAX: usize = 1024;

/// Buffers of heads that a worker keeps for use again.
pub const SPARE_HEADS_MAX: usize = 256;

/// A larger one is given back to the allocator, in bytes.
pub const SPARE_HEAD_BYTES_MAX: usize = 16 * 1024;

/// Requests that a worker takes at a time from what a limit's rate has left, at most, so that not
/// each of them touches what all workers share. What workers hold together is a quarter of the
/// burst at most.
pub const LEASE_REQUESTS_MAX: u32 = 64;

/// What a worker holds of it for longer is given back, in milliseconds.
pub const LEASE_MS: u64 = 100;

/// What Retry-After says where too many connections are open, in seconds: nobody knows when one
/// will end.
pub const CONNECTIONS_RETRY_AFTER_S: u32 = 1;

/// What Retry-After says where the backends of a pool are full and no more may wait, in seconds.
pub const QUEUE_RETRY_AFTER_S: u32 = 1;

/// Different things that requests of a pool may wait for at a time, where each would take any of several backends:
/// the backends of a tier but those that were tried. Who waits for one more is answered as where the line
/// is full, `queue_full`.
pub const QUEUE_KINDS_MAX: usize = 256;

/// Retries that a site can make in a row on one worker. Counted as `retry_budget` when met.
pub const RETRY_BURST: u32 = 16;

/// Retries that a site gets back for each hundred requests, unless it says otherwise.
pub const RETRY_PERCENT_DEFAULT: u32 = 20;

// --- backends that are known by a name ---

/// Names that are looked up at a time. Each costs a socket for each family of addresses. A tenant
/// has as many at most as are left, so half of them.
pub const LOOKUPS_MAX: usize = 64;

/// Of these, names that got no answer in time the last time, or in their first attempt: somebody's
/// dead name servers must not keep others' names from being looked up. A tenant has half of them
/// at most by the same rule.
pub const SLOW_LOOKUPS_MAX: usize = 32;

/// Lookups in a row that name servers must answer before a name that got no answer in time is
/// like others again.
pub const SLOW_NAME_ANSWERS_MIN: u32 = 3;

/// How long one name server may take to answer, in milliseconds; then the next is asked.
pub const LOOKUP_ATTEMPT_MS: u64 = 2_000;

/// Attempts of one lookup; more where there are more name servers, each of which is asked once.
pub const LOOKUP_ATTEMPTS_MIN: usize = 3;

/// A name as it is encoded in a question (RFC 1035 §2.3.4), in bytes.
pub const ENCODED_NAME_BYTES_MAX: usize = 255;

/// A question: such a name and what stands around it, in bytes.
pub const LOOKUP_QUESTION_BYTES_MAX: usize = 512;

/// A datagram that is read, in bytes. More than one without EDNS may have; what is longer is cut
/// off there, and then no answer.
pub const LOOKUP_DATAGRAM_BYTES_MAX: usize = 4 * 1024;

/// Datagrams of one question that are read at a time: who floods us with wrong ones gets no more
/// of our time.
pub const LOOKUP_DATAGRAMS_AT_ONCE_MAX: usize = 16;

/// An answer over TCP, in bytes. Room for a thousand addresses; more is no answer.
pub const LOOKUP_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The least and the longest time that an answer is taken for true whatever its TTL says, in
/// milliseconds. The least keeps a TTL of 0 from being a lookup for each turn of our loop, the
/// longest is what a forgotten TTL of days costs who moves a server.
pub const NAME_TTL_MS_MIN: u64 = 5_000;
/// See [`NAME_TTL_MS_MIN`].
pub const NAME_TTL_MS_MAX: u64 = 300_000;

/// The wait before the next lookup of a name that got no address, in milliseconds: it doubles
/// from the least to the longest.
pub const NAME_RETRY_MS_MIN: u64 = 1_000;
/// See [`NAME_RETRY_MS_MIN`].
pub const NAME_RETRY_MS_MAX: u64 = 30_000;

/// Hundredths by which such a wait may be longer, by chance, so that names that were configured
/// together are not looked up together.
pub const NAME_JITTER_PERCENT: u64 = 10;

/// How long the last addresses are used while no name server answers, in milliseconds: a day, as
/// RFC 8767 §5 advises.
pub const NAME_HOLD_SILENT_MS: u64 = 24 * 60 * 60 * 1000;

/// How long they are used when the answer is that there are none, in milliseconds: a zone that
/// is loaded anew may be without a name for a moment.
pub const NAME_HOLD_GONE_MS: u64 = 30_000;

/// Addresses of a name that are used, the lowest first. Counted as `name_addresses` when met.
pub const ADDRESSES_PER_NAME_MAX: usize = 64;

/// Addresses of all names of a site that are used, as fairly shared as can be: a worker takes up
/// their change in one piece, at some microseconds each. Counted as `site_addresses` when met.
pub const ADDRESSES_PER_SITE_MAX: usize = 2048;

/// How long a site stays as it is once its names had other addresses, for each backend that it
/// has, in microseconds: a hundred times what a change costs.
pub const SITE_RENEWAL_GAP_US_PER_BACKEND: u64 = 500;

// --- geography ---

/// A geographic database, in bytes. The largest city databases have a third of it.
pub const GEO_DATABASE_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Different places in a geographic database, for each family of addresses. A city database has
/// half a million.
pub const GEO_PLACES_MAX: usize = 4 * 1024 * 1024;

/// Groups that are ranked. Each ranking that occurs has all of them, and there may be as many
/// rankings as places.
pub const GEO_GROUPS_MAX: usize = 256;

// --- health checks ---

/// Checks under way at a time, each with a connection. A tenant has as many at most as are left, so
/// half of them: one whose backends hang makes nobody else's checks late.
pub const HEALTH_CHECKS_MAX: u64 = 8192;

/// Of the descriptors for clients and backends, the hundredths that checks may use in place of
/// backends, up to [`HEALTH_CHECKS_MAX`].
pub const HEALTH_DESCRIPTORS_PERCENT: u64 = 5;

/// Checks that begin before it is looked what became of others.
pub const HEALTH_CHECKS_AT_ONCE_MAX: usize = 32;

/// A check that begins this much after it was due is late, in milliseconds; counted as
/// `health_check_late`.
pub const HEALTH_CHECK_LATE_MS: u64 = 500;

/// After a check that this host had nothing to make with, a request that could not connect has the next
/// one not come before its time for so long, in milliseconds.
pub const HEALTH_CHECK_PAUSE_MS: u64 = 1000;

/// By how much of its interval a check comes earlier or later, by chance, in hundredths.
pub const HEALTH_JITTER_PERCENT: f64 = 10.0;

/// Within this time, or an interval that is shorter, a new backend is checked first, in
/// milliseconds.
pub const HEALTH_FIRST_SPREAD_MS_MAX: u64 = 10_000;

/// Failed connects of requests that wait to be counted as checks; more are left out.
pub const HEALTH_REPORTS_MAX: usize = 1024;

/// Changes of backends' health that stderr is told of in a second; more are told as a number.
pub const HEALTH_LINES_PER_SECOND_MAX: u32 = 20;

/// What a backend may send in a check by TLS, in bytes; of a handshake that takes more the check
/// fails, counted as `health_check_too_long`. A handshake is some 4 KiB, 20 KiB with a chain of certificates
/// of the largest post-quantum signatures; a check that is under way holds as much at most.
pub const HEALTH_TLS_BYTES_MAX: usize = 32 * 1024;

/// How long a check by TLS that has passed waits for the backend to close, in milliseconds.
pub const HEALTH_TLS_CLOSE_MS: u64 = 250;

/// The authorities of one pool, or of the clients of one site, as PEM, in bytes: they stand in the config log. One takes 0.7 to 2 KiB.
pub const POOL_AUTHORITIES_BYTES_MAX: usize = 32 * 1024;

/// The host's file of authorities, in bytes. Debian's has 220 KiB.
pub const HOST_AUTHORITIES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// From one look whether the host's file of authorities has changed to the next, in milliseconds.
pub const HOST_AUTHORITIES_LOOK_MS: u64 = 60_000;

/// Tickets of TLS 1.3 that a worker keeps of one backend, each for one handshake; the oldest goes
/// when there is one more. Each takes what the backend made of it, 0.2 to 2 KiB, and the
/// backend's certificates. It is as many as rustls keeps.
pub const BACKEND_TICKETS_MAX: usize = 8;

/// The subject of a client's certificate as its site's backends are told it, in bytes. Those that people
/// have are below 200.
pub const CLIENT_SUBJECT_BYTES_MAX: usize = 1024;

/// How a backend broke TLS, as it is told, in bytes.
pub const HEALTH_TLS_DETAIL_BYTES_MAX: usize = 100;

// --- health of hosts ---

/// The field that signs a host's question to another, in bytes: two names, a nonce, four numbers and
/// the signature are 340 at most. A longer one is a forged one.
pub const PROBE_FIELD_BYTES_MAX: usize = 512;

/// What a host answers another, in bytes of JSON. It is written by a worker between requests, so it
/// takes no longer than a turn may; of a list that is longer the rest is asked for at once.
pub const PROBE_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Of these, what sites that the host can not serve may take: beside a view of all hosts.
pub const PROBE_SITES_BYTES_MAX: usize = 32 * 1024;

/// Head of such an answer, in bytes.
pub const PROBE_HEAD_BYTES_MAX: usize = 4 * 1024;

/// How long a question of one host to another names the same [`crate::probe::Period`], in
/// milliseconds. It is answered in full for up to twice as long, should somebody else send it again.
pub const PROBE_PERIOD_MS: u64 = 60_000;

/// Hosts that are probed; each has a thread of the responder that waits for it. Others are taken to be
/// well, and counted as `hosts_not_probed`.
pub const PROBED_HOSTS_MAX: usize = 256;

/// A responder's view is good for so many intervals of its probes (DESIGN §7).
pub const VIEW_INTERVALS: u32 = 3;

/// A host comes back when no majority has found it down for so many intervals: whoever looks at it
/// looks once in that time, and is heard.
pub const RETURN_INTERVALS: u32 = 2;

/// Sites that a host can serve again and of which others may not know it yet. Beyond it they learn the
/// list from its beginning.
pub const SITES_BACK_MAX: usize = 65_536;

/// Lines about changes of hosts' health that wait for stderr; more are left out.
pub const HOST_LINES_WAITING_MAX: usize = 256;

// --- the access log and failures ---

/// What a worker may have told of requests that the access log's thread has not taken yet, in
/// bytes. Beyond it lines are lost, counted as `access_log_lost`.
pub const LOG_QUEUE_BYTES: usize = 1024 * 1024;

/// While less than a quarter of a queue is free, a tenant gets one of so many parts of the queue:
/// what is lost then are the lines of who logs the most.
pub const LOG_CROWDED_PARTS: usize = 64;

/// What the thread has taken and the file has not, in bytes, before it takes more.
pub const LOG_BATCH_BYTES: usize = 256 * 1024;

/// A method, host or path in the access log, in bytes; longer ones are cut, and end in `...`.
pub const LOG_TEXT_BYTES_MAX: usize = REQUEST_LINE_BYTES_MAX;

/// An X-Request-Id of a trusted peer that is kept, in bytes. A longer one is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Requests of a site that ended badly and are remembered.
pub const FAILURES_PER_SITE: usize = 100;

/// A method, host or path of such a request, in bytes; longer ones are cut, and end in `...`.
pub const FAILURE_TEXT_BYTES_MAX: usize = 512;

/// What a worker may remember of failures of all sites, in bytes. Beyond it the site that
/// holds the most forgets its oldest, counted as `failures_forgotten`.
pub const FAILURES_BYTES_MAX: usize = 4 * 1024 * 1024;

// --- the local socket ---

/// The longest line that a plane reads from its local socket.
pub const LOCAL_LINE_BYTES_MAX: usize = 64 * 1024;

/// Connections of the local socket that are served at a time; more are closed.
pub const LOCAL_CONNECTIONS_MAX: usize = 64;

/// Backends that are drained at a time, by name; a further one is refused.
pub const DRAINED_BACKENDS_MAX: usize = 10_000;

// --- metrics ---

/// Sites that have series of their own: about 25 each. A scrape of all of them and of
/// [`METRICS_BACKENDS_MAX`] backends is some 20 MiB of text.
pub const METRICS_SITES_MAX: usize = 5000;

/// Backends that have series of their own: 9 each, and one more for a pool of theirs with a queue.
pub const METRICS_BACKENDS_MAX: usize = 10_000;

/// Certificates that have a series: those that expire first, so that the first end of all is always
/// there.
pub const METRICS_CERTIFICATES_MAX: usize = 1000;

/// Connections for metrics at a time; the text of each may stand in memory.
pub const METRICS_CONNECTIONS_MAX: usize = 8;

/// Head of a request for metrics, in bytes.
pub const METRICS_HEAD_BYTES_MAX: usize = 8 * 1024;

/// For the whole head of a request for metrics, from its connection on.
pub const METRICS_HEAD_MS: u64 = 5_000;

/// For the whole answer to be taken.
pub const METRICS_WRITE_MS: u64 = 30_000;

// --- counters and usage ---

/// Length of a slot of time, in seconds. Usage is never told apart further, and a loss of
/// power costs as much of it at most.
pub const SLOT_SECONDS: u64 = 300;

/// Connections that wait for a worker which another one handed them over to. That is a few turns of it
/// at most; HAProxy's queue is as long. Beyond it they stay with who accepted them.
pub const ACCEPT_QUEUE_MAX: usize = 1024;

/// Other workers whose loads are compared when a connection is accepted, each a cache line of another
/// core; they take turns.
pub const ACCEPT_LOOKS_MAX: usize = 8;

/// Of so many connections a worker may have one more than another before it hands over: 3 %. Without
/// that, a quarter of all would move when two workers are even.
pub const ACCEPT_MARGIN_PARTS: u64 = 32;

/// The piece by which a worker's page file grows first, in bytes: 128 sites.
pub const COUNTER_SEGMENT_BYTES_MIN: usize = 64 * 1024;

/// The piece by which it grows at most, each twice as long as the one before. The worker waits
/// for the file system meanwhile.
pub const COUNTER_SEGMENT_BYTES_MAX: usize = 1024 * 1024;

/// Sites on one line of a slots file: what is written and read at a time stays small.
pub const SITES_PER_LINE_MAX: usize = 1000;

const _: () = {
    assert!(COUNTER_SEGMENT_BYTES_MIN <= COUNTER_SEGMENT_BYTES_MAX);
    // A lookup asks for addresses of both families at once.
    assert!(
        2 * LOOKUPS_MAX + LOCAL_CONNECTIONS_MAX + METRICS_CONNECTIONS_MAX
            <= DESCRIPTORS_RESERVED as usize - 56
    );
    assert!(SLOW_LOOKUPS_MAX < LOOKUPS_MAX);
    // A view of all hosts, the longest name of a site and a few numbers stand beside the sites.
    assert!(
        PROBED_HOSTS_MAX * (NAME_BYTES_MAX + 3) + 2 * NAME_BYTES_MAX + 1024
            <= PROBE_ANSWER_BYTES_MAX - PROBE_SITES_BYTES_MAX
    );
    // The responder hands its view over on one line.
    assert!(PROBED_HOSTS_MAX * (NAME_BYTES_MAX + 3) + 1024 <= LOCAL_LINE_BYTES_MAX);
    assert!(PROBED_HOSTS_MAX >= GEO_GROUPS_MAX);
    // Backends have connections besides.
    assert!(CLIENT_DESCRIPTORS_PERCENT + HEALTH_DESCRIPTORS_PERCENT < 100);
    // A header, a name, its type and class.
    assert!(12 + ENCODED_NAME_BYTES_MAX + 4 <= LOOKUP_QUESTION_BYTES_MAX);
    // The two more are a length and a root.
    assert!(HOSTNAME_BYTES_MAX + 2 == ENCODED_NAME_BYTES_MAX);
    // A full pool of names has an address for each.
    assert!(ADDRESSES_PER_NAME_MAX <= ADDRESSES_PER_SITE_MAX);
    assert!(BACKENDS_PER_POOL_MAX <= ADDRESSES_PER_SITE_MAX);
    assert!(NAME_TTL_MS_MIN <= NAME_TTL_MS_MAX && NAME_RETRY_MS_MIN <= NAME_RETRY_MS_MAX);
    // An answer that is held is asked for again meanwhile.
    assert!(NAME_RETRY_MS_MAX <= NAME_HOLD_GONE_MS && NAME_HOLD_GONE_MS < NAME_HOLD_SILENT_MS);
    // A line with three texts of which each byte is escaped fits the queue many times.
    assert!(20 * 3 * LOG_TEXT_BYTES_MAX < LOG_QUEUE_BYTES);
    assert!(LOG_BATCH_BYTES < LOG_QUEUE_BYTES);
    assert!(FAILURE_TEXT_BYTES_MAX <= LOG_TEXT_BYTES_MAX);
    // One site alone forgets nothing for want of room.
    assert!(FAILURES_PER_SITE * 5 * FAILURE_TEXT_BYTES_MAX < FAILURES_BYTES_MAX);
    // Retry-After is written in whole seconds, and no burst takes longer than a u64 has nanoseconds.
    assert!(RATE_REQUESTS_MAX <= 1_000_000_000);
    assert!(HEAD_LIMIT_BYTES_MIN < REQUEST_HEAD_BYTES_MAX);
    assert!(4 * CERTIFICATE_CONTENT_BYTES_MAX / 3 < CERTIFICATE_FILE_BYTES_MAX);
    // A whole record fits what is kept of one.
    assert!(TLS_PARTIAL_BYTES_MAX > 5 + (1 << 14) + 2048);
    assert!(TLS_HELLO_BYTES_MAX <= TLS_HANDSHAKE_BYTES_MAX);
    assert!(TLS_HANDSHAKES_PER_CLIENT_MAX < TLS_HANDSHAKES_PER_WORKER_MAX);
    // A ticket may be used for a week at most (RFC 8446 §4.6.1).
    assert!(TICKET_KEY_S <= 604_800);
    // Shards are picked by the low bits of a checksum.
    assert!(CERTIFICATE_SHARDS.is_power_of_two());
    // Hours and days are sums of slots.
    assert!(3600_u64.is_multiple_of(SLOT_SECONDS));
    assert!(REQUEST_LINE_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
    assert!(TRAILER_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
    // A request that we accept can be passed on, and comes back no larger.
    assert!(RESPONSE_HEAD_BYTES_MAX >= REQUEST_HEAD_BYTES_MAX);
    // A Host field of any valid hostname fits the request line's bound.
    assert!(HOSTNAME_BYTES_MAX < REQUEST_LINE_BYTES_MAX);
    assert!(NAME_BYTES_MAX < HOSTNAME_BYTES_MAX);
    // A Location can say where a request was, and a head of ours keeps well below a server's limit.
    assert!(ROUTE_TEXT_BYTES_MAX + REQUEST_LINE_BYTES_MAX < RESPONSE_HEAD_BYTES_MAX);
    assert!(2 * FIELD_CHANGE_BYTES_MAX < REQUEST_HEAD_BYTES_MAX);
    assert!(RESPOND_BODY_BYTES_MAX <= RESPOND_BODY_BYTES_PER_SITE_MAX);
    assert!(FIELD_CHANGE_BYTES_MAX <= FIELD_CHANGE_BYTES_PER_SITE_MAX);
    // Shards are picked by the low bits of a hash.
    assert!(HOSTNAME_SHARDS.is_power_of_two() && SITE_SHARDS.is_power_of_two());
};
