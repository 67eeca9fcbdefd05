//! Why a request gets an answer of ours, and which.

/// Whose fault a failure is, for the log and for whom to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The one who sent the request.
    Client,
    /// The tenant's server.
    Backend,
    /// Whoever configured the site or its limits.
    Operator,
    /// This host: it ran out of something that it should have.
    Us,
}

impl Fault {
    /// The word for the access log. A promise to those who read it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Backend => "backend",
            Fault::Operator => "operator",
            Fault::Us => "us",
        }
    }
}

/// A request that we answer ourselves with an error. One variant for each case
/// that a reader of the log would want to tell from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// The request line is not `method SP target SP version CRLF`, or its target has no allowed form.
    RequestLine,
    /// The request line is too long.
    RequestLineLong,
    /// A major version that we do not speak.
    Version,
    /// CONNECT or TRACE.
    Method,
    /// An invalid field line: name, colon, value or line end.
    Field,
    /// The head is too long.
    HeadLong,
    /// Too many fields, or too many options in Connection.
    FieldsMany,
    /// Content-Length and Transfer-Encoding do not say clearly where the body ends.
    Framing,
    /// A transfer coding other than chunked.
    Coding,
    /// Host, or the authority of the target, is missing, doubled or invalid.
    Host,
    /// Max-Forwards of an OPTIONS request is doubled or no number.
    MaxForwards,
    /// The path could be read as another one, and routes go by it.
    Path,
    /// The scheme of an absolute target does not fit the listener.
    Scheme,
    /// The host is none of the site that the client made its handshake with.
    Misdirected,
    /// The chunked coding of the body is broken.
    Chunk,
    /// The trailer section is too long or has too many fields.
    TrailersLong,
    /// The head did not arrive in time.
    HeadSlow,
    /// The body did not arrive fast enough.
    BodySlow,
    /// The head is over the limit of the site.
    HeadLimit,
    /// The body is over the limit of the site.
    BodyLong,
    /// No site has this hostname.
    NoSite,
    /// The site does not serve this client.
    Denied,
    /// The site serves nobody who showed no certificate, and this was asked for without TLS.
    CertificateRequired,
    /// The site is not served for now.
    Suspended,
    /// The site or its tenant is over its rate of requests.
    RateLimit,
    /// The site or its tenant is over its number of connections.
    ConnectionLimit,
    /// The tenant has its share of the connections that this host may have.
    ShareLimit,
    /// The request has been through this fleet before.
    Loop,
    /// No backend is healthy.
    NoBackend,
    /// All backends have as many requests as they may, and no more may wait.
    QueueFull,
    /// No backend had room within the time that a request may wait.
    QueueSlow,
    /// The backend refused the connection.
    ConnectRefused,
    /// The backend did not accept the connection in time.
    ConnectSlow,
    /// The backend sent no response in time.
    FirstByteSlow,
    /// The backend's response is not HTTP as we accept it.
    ResponseHead,
    /// The backend's connection broke.
    Reset,
    /// Nobody who is trusted vouches for the backend's certificate.
    BackendUntrusted,
    /// The backend's certificate has expired, or does not hold yet.
    BackendExpired,
    /// The backend's certificate is for other names.
    BackendMisnamed,
    /// The backend ended the handshake, or what came of it, by an alert.
    BackendAlert,
    /// The backend makes no handshake that we do.
    BackendHandshake,
    /// The backend did not make its handshake in time.
    BackendHandshakeSlow,
    /// What a handshake with the backend is made with can not be read.
    BackendTlsUnready,
    /// This host has no descriptor, port or memory left for a connection to the backend.
    Resources,
}

impl Reject {
    /// Every variant, in their order.
    pub const ALL: [Reject; 44] = [
        Reject::RequestLine,
        Reject::RequestLineLong,
        Reject::Version,
        Reject::Method,
        Reject::Field,
        Reject::HeadLong,
        Reject::FieldsMany,
        Reject::Framing,
        Reject::Coding,
        Reject::Host,
        Reject::MaxForwards,
        Reject::Path,
        Reject::Scheme,
        Reject::Misdirected,
        Reject::Chunk,
        Reject::TrailersLong,
        Reject::HeadSlow,
        Reject::BodySlow,
        Reject::HeadLimit,
        Reject::BodyLong,
        Reject::NoSite,
        Reject::Denied,
        Reject::CertificateRequired,
        Reject::Suspended,
        Reject::RateLimit,
        Reject::ConnectionLimit,
        Reject::ShareLimit,
        Reject::Loop,
        Reject::NoBackend,
        Reject::QueueFull,
        Reject::QueueSlow,
        Reject::ConnectRefused,
        Reject::ConnectSlow,
        Reject::FirstByteSlow,
        Reject::ResponseHead,
        Reject::Reset,
        Reject::BackendUntrusted,
        Reject::BackendExpired,
        Reject::BackendMisnamed,
        Reject::BackendAlert,
        Reject::BackendHandshake,
        Reject::BackendHandshakeSlow,
        Reject::BackendTlsUnready,
        Reject::Resources,
    ];

    /// The status code of our answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Reject::RequestLine
            | Reject::Field
            | Reject::Framing
            | Reject::Host
            | Reject::MaxForwards
            | Reject::Path
            | Reject::Chunk => 400,
            Reject::Denied | Reject::CertificateRequired => 403,
            Reject::NoSite => 404,
            Reject::Method => 405,
            Reject::HeadSlow | Reject::BodySlow => 408,
            Reject::BodyLong => 413,
            Reject::RequestLineLong => 414,
            Reject::Scheme | Reject::Misdirected => 421,
            Reject::RateLimit => 429,
            Reject::HeadLong | Reject::FieldsMany | Reject::TrailersLong | Reject::HeadLimit => 431,
            Reject::Coding => 501,
            Reject::ConnectRefused
            | Reject::ResponseHead
            | Reject::Reset
            | Reject::BackendUntrusted
            | Reject::BackendExpired
            | Reject::BackendMisnamed
            | Reject::BackendAlert
            | Reject::BackendHandshake => 502,
            Reject::Suspended
            | Reject::ConnectionLimit
            | Reject::ShareLimit
            | Reject::NoBackend
            | Reject::QueueFull
            | Reject::QueueSlow
            | Reject::BackendTlsUnready
            | Reject::Resources => 503,
            Reject::ConnectSlow | Reject::FirstByteSlow | Reject::BackendHandshakeSlow => 504,
            Reject::Version => 505,
            Reject::Loop => 508,
        }
    }

    /// Whether the client's connection ends with the answer. It does wherever we
    /// do not know, or do not care to read, where the next request would begin: so
    /// for everything that a parser says, and a caller closes as well when it did
    /// not read the body to its end.
    #[must_use]
    pub fn closes(self) -> bool {
        match self {
            Reject::RequestLine
            | Reject::RequestLineLong
            | Reject::Version
            | Reject::Method
            | Reject::Field
            | Reject::HeadLong
            | Reject::FieldsMany
            | Reject::Framing
            | Reject::Coding
            | Reject::Host
            | Reject::MaxForwards
            | Reject::Scheme
            | Reject::Chunk
            | Reject::TrailersLong
            | Reject::HeadSlow
            | Reject::BodySlow
            | Reject::HeadLimit
            | Reject::BodyLong
            // It is not one of the site's, so it must not stay.
            | Reject::ConnectionLimit
            // There is to be one less.
            | Reject::ShareLimit => true,
            Reject::Path
            | Reject::Misdirected
            | Reject::NoSite
            | Reject::Denied
            | Reject::CertificateRequired
            | Reject::Suspended
            | Reject::RateLimit
            | Reject::Loop
            | Reject::NoBackend
            | Reject::QueueFull
            | Reject::QueueSlow
            | Reject::ConnectRefused
            | Reject::ConnectSlow
            | Reject::FirstByteSlow
            | Reject::ResponseHead
            | Reject::Reset
            | Reject::BackendUntrusted
            | Reject::BackendExpired
            | Reject::BackendMisnamed
            | Reject::BackendAlert
            | Reject::BackendHandshake
            | Reject::BackendHandshakeSlow
            | Reject::BackendTlsUnready
            | Reject::Resources => false,
        }
    }

    /// The word for the access log and the counters. A promise to those who read them.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Reject::RequestLine => "bad_request_line",
            Reject::RequestLineLong => "request_line_long",
            Reject::Version => "bad_version",
            Reject::Method => "bad_method",
            Reject::Field => "bad_field",
            Reject::HeadLong => "head_long",
            Reject::FieldsMany => "fields_many",
            Reject::Framing => "bad_framing",
            Reject::Coding => "unknown_coding",
            Reject::Host => "bad_host",
            Reject::MaxForwards => "bad_max_forwards",
            Reject::Path => "bad_path",
            Reject::Scheme => "wrong_scheme",
            Reject::Misdirected => "misdirected",
            Reject::Chunk => "bad_chunk",
            Reject::TrailersLong => "trailers_long",
            Reject::HeadSlow => "head_timeout",
            Reject::BodySlow => "body_timeout",
            Reject::HeadLimit => "limit_head",
            Reject::BodyLong => "limit_body",
            Reject::NoSite => "no_site",
            Reject::Denied => "denied",
            Reject::CertificateRequired => "certificate_required",
            Reject::Suspended => "suspended",
            Reject::RateLimit => "limit_rate",
            Reject::ConnectionLimit => "limit_connections",
            Reject::ShareLimit => "limit_share",
            Reject::Loop => "loop",
            Reject::NoBackend => "no_backend",
            Reject::QueueFull => "queue_full",
            Reject::QueueSlow => "queue_timeout",
            Reject::ConnectRefused => "connect_refused",
            Reject::ConnectSlow => "connect_timeout",
            Reject::FirstByteSlow => "first_byte_timeout",
            Reject::ResponseHead => "bad_response_head",
            Reject::Reset => "reset",
            Reject::BackendUntrusted => "backend_untrusted",
            Reject::BackendExpired => "backend_expired",
            Reject::BackendMisnamed => "backend_wrong_name",
            Reject::BackendAlert => "backend_alert",
            Reject::BackendHandshake => "backend_handshake",
            Reject::BackendHandshakeSlow => "backend_handshake_timeout",
            Reject::BackendTlsUnready => "backend_tls_unready",
            Reject::Resources => "out_of_resources",
        }
    }

    /// Whether no handshake was made with a backend: it got nothing of the request.
    #[must_use]
    pub fn is_of_handshake(self) -> bool {
        matches!(
            self,
            Reject::BackendUntrusted
                | Reject::BackendExpired
                | Reject::BackendMisnamed
                | Reject::BackendAlert
                | Reject::BackendHandshake
                | Reject::BackendHandshakeSlow
                | Reject::BackendTlsUnready
        )
    }

    /// Whether it is for a limit of the tenant or the site.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(
            self,
            Reject::HeadLimit
                | Reject::BodyLong
                | Reject::RateLimit
                | Reject::ConnectionLimit
                | Reject::ShareLimit
                | Reject::QueueFull
                | Reject::QueueSlow
        )
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(self) -> Fault {
        match self {
            Reject::NoBackend
            | Reject::QueueSlow
            | Reject::ConnectRefused
            | Reject::ConnectSlow
            | Reject::FirstByteSlow
            | Reject::ResponseHead
            | Reject::Reset
            | Reject::BackendUntrusted
            | Reject::BackendExpired
            | Reject::BackendMisnamed
            | Reject::BackendAlert
            | Reject::BackendHandshake
            | Reject::BackendHandshakeSlow => Fault::Backend,
            Reject::Suspended
            | Reject::ConnectionLimit
            | Reject::ShareLimit
            | Reject::QueueFull
            | Reject::Loop => Fault::Operator,
            Reject::BackendTlsUnready | Reject::Resources => Fault::Us,
            _ => Fault::Client,
        }
    }
}
