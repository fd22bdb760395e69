//! The web inbox at `/`: the built page, carried in the binary; where it was not built, a page that says how to.
//!
//! Not here: the page itself (web/), its API (`history-api`, `broker`).

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rust_embed::{EmbeddedFile, RustEmbed};

/// What `npm run build` wrote, at the time of this build.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Page;

const INDEX: &str = "index.html";
/// Vite puts a hash of the content into the names below this folder.
const HASHED: &str = "assets/";
/// For names with a hash: never asked for again.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// For all others: kept, and asked for with `If-None-Match` each time, so that an update is seen at once.
const REVALIDATE: &str = "no-cache";
/// Keys change when an operator changes them: who keeps them for five minutes notices soon enough.
const JWKS_CACHE: &str = "public, max-age=300";
/// Bytes of the content's SHA-256 in an ETag.
const ETAG_BYTES: usize = 16;

/// Nothing but what this origin serves may run, be shown or be called. `ws:` and `wss:` for browsers in which 'self'
/// does not cover them; workers from blobs for MQTT.js, whose keep-alive timer runs in one.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; connect-src 'self' ws: wss:; \
    worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// On every answer, errors too.
const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<title>inboxd</title>
<h1>inboxd is running</h1>
<p>This build carries no web inbox. To get it, install Node.js 20 or later and build again:</p>
<pre>
cd web
npm ci
npm run build
cd ..
cargo build --release
</pre>
<p>Everything else works without it: MQTT, WebSocket (<code>/mqtt</code>), HTTP (<code>/v1</code>).</p>
</html>
";

/// The page, for whatever no other route takes, and the public keys of tokens (`jwks`, a JWK set).
pub(crate) fn router(jwks: &serde_json::Value) -> Router {
    let keys = jwks.to_string();
    let keys = move || {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, JWKS_CACHE)];
        std::future::ready((headers, keys.clone()))
    };
    Router::new().route("/.well-known/jwks.json", get(keys)).fallback(page)
}

async fn page(request: Request) -> Response {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => file(request.uri().path(), request.headers()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response(),
    };
    if request.method() == Method::HEAD {
        // The length stays: it is that of the GET.
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

fn file(path: &str, headers: &HeaderMap) -> Response {
    let name = match path.trim_start_matches('/') {
        "" => INDEX,
        name => name,
    };
    match Page::get(name) {
        Some(file) => answer(name, &file, headers),
        None if name == INDEX => {
            ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], NOT_BUILT).into_response()
        }
        // Never the page itself: a mistyped address that shows it would hide the mistake.
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

fn answer(name: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&file.metadata.sha256_hash()[..ETAG_BYTES]));
    let cache = if name.starts_with(HASHED) { FOR_EVER } else { REVALIDATE };
    let known = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == etag || known.trim() == "*");
    let caching = [(header::ETAG, etag.as_str()), (header::CACHE_CONTROL, cache)];
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    let mime = match mime.type_().as_str() {
        "text" => format!("{mime}; charset=utf-8"),
        _ => mime.to_string(),
    };
    (caching, [(header::CONTENT_TYPE, mime)], file.data.to_vec()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(path: &str) -> Request {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_root_is_the_page_or_says_how_to_get_it() {
        let response = page(ask("/")).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let built = Page::get(INDEX).is_some();
        assert_eq!(text(response).await.contains("npm run build"), !built);
    }

    #[tokio::test]
    async fn every_answer_is_locked_down() {
        for path in ["/", "/nothing", "/../Cargo.toml"] {
            let response = page(ask(path)).await;
            for (name, value) in SECURITY_HEADERS {
                assert_eq!(response.headers()[&name], value, "{path} {name}");
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_exist_is_not_the_page() {
        assert_eq!(page(ask("/nothing")).await.status(), StatusCode::NOT_FOUND);
        let post = Request::post("/").body(Body::empty()).unwrap();
        assert_eq!(page(post).await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    fn embedded(data: &'static [u8]) -> EmbeddedFile {
        let hash = ring::digest::digest(&ring::digest::SHA256, data);
        let hash: [u8; 32] = hash.as_ref().try_into().unwrap();
        EmbeddedFile { data: data.into(), metadata: rust_embed::Metadata::__rust_embed_new(hash, None, None) }
    }

    #[tokio::test]
    async fn files_have_their_type_and_are_kept_by_the_browser() {
        let none = HeaderMap::new();
        for (name, mime, cache) in [
            ("assets/index-1a2b.js", "text/javascript; charset=utf-8", FOR_EVER),
            ("assets/index-1a2b.css", "text/css; charset=utf-8", FOR_EVER),
            ("favicon.svg", "image/svg+xml", REVALIDATE),
            ("index.html", "text/html; charset=utf-8", REVALIDATE),
            ("manifest.webmanifest", "application/manifest+json", REVALIDATE),
        ] {
            let response = answer(name, &embedded(b"x"), &none);
            assert_eq!(response.headers()[header::CONTENT_TYPE], mime, "{name}");
            assert_eq!(response.headers()[header::CACHE_CONTROL], cache, "{name}");
        }
        let etag = answer("a", &embedded(b"x"), &none).headers()[header::ETAG].clone();
        let with = |value: &str| HeaderMap::from_iter([(header::IF_NONE_MATCH, value.parse().unwrap())]);
        let same = format!("\"other\", W/{}", etag.to_str().unwrap());
        let response = answer("a", &embedded(b"x"), &with(&same));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(text(response).await, "");
        assert_eq!(answer("a", &embedded(b"y"), &with(&same)).status(), StatusCode::OK);
    }
}
