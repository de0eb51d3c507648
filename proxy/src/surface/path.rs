//! Which surface a path belongs to. Matching is by normalised path (case, doubled and trailing slashes, percent escapes, a
//! base path such as `/openai/v1`), because an upstream may treat all of those alike: a spelling must not be a way round.

use http::Method;

use super::{SURFACES, Surface};

/// Path and query of a request, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Address<'h> {
    pub path: &'h str,
    pub query: Option<&'h str>,
}

impl Address<'_> {
    /// The path without its percent escapes.
    pub(super) fn decoded(&self) -> String {
        String::from_utf8_lossy(&unescape(self.path)).into_owned()
    }

    /// The path ends in this, in lower case, whatever its spelling.
    pub(super) fn ends_with(&self, end: &str) -> bool {
        self.decoded().trim_end_matches('/').to_ascii_lowercase().ends_with(end)
    }

    /// Path and query as texts to be inspected, without their escapes.
    pub fn texts(&self) -> (String, String) {
        let query = self.query.unwrap_or_default().replace('+', " ");
        (self.decoded(), String::from_utf8_lossy(&unescape(&query)).into_owned())
    }

    /// The model in `…/models/{model}:method` or `…/model/{model}/method`.
    pub(super) fn model(&self) -> String {
        let path = self.decoded();
        let path = path.trim_end_matches('/');
        // Models of Bedrock have colons and slashes in their names; they stand between two known segments.
        let invoked = path.rsplit_once("/model/").and_then(|(_, rest)| rest.rsplit_once('/')).map(|(model, _)| model);
        let named = || path.rsplit_once(':').map(|(model, _)| model.rsplit('/').next().unwrap_or_default());
        invoked.or_else(named).unwrap_or_default().to_owned()
    }

    /// The id in `…/{list}/{id}` and `…/{list}/{id}/{action}`, for the lists of what providers keep; of Gemini's caches the whole
    /// name.
    pub fn kept_id(&self) -> Option<String> {
        const LISTS: [&str; 5] = ["responses", "conversations", "vector_stores", "files", "batches"];
        const CACHES: &str = "cachedContents";
        let path = self.decoded();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let is_list = |part: &str| LISTS.iter().chain([&CACHES]).any(|list| part.eq_ignore_ascii_case(list));
        let list = parts.find(|part| is_list(part))?;
        let id = parts.next()?;
        if list.eq_ignore_ascii_case(CACHES) {
            // On Vertex AI a name begins with its project.
            let place = path.find("/projects/").and_then(|at| path.get(at + 1..)?.split_once(list));
            return Some(format!("{}{CACHES}/{id}", place.map_or("", |(place, _)| place)));
        }
        // Methods of Gemini's stand behind a colon.
        let id = id.split(':').next().unwrap_or(id);
        // Two endpoints beside the answers that are kept.
        let action = ["compact", "input_tokens"].iter().any(|action| id.eq_ignore_ascii_case(action));
        (!action).then(|| id.to_owned())
    }

    /// The value that the query has under this name, without percent escapes.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let (_, value) = pairs.find(|(this, _)| unescape(this).eq_ignore_ascii_case(name.as_bytes()))?;
        Some(String::from_utf8_lossy(&unescape(value)).into_owned())
    }

    /// The query names this value, in any spelling.
    pub(super) fn asks(&self, name: &str, value: &str) -> bool {
        self.query.unwrap_or_default().split('&').any(|pair| {
            let (this, asked) = pair.split_once('=').unwrap_or((pair, ""));
            let is = |text: &str, wanted: &str| String::from_utf8_lossy(&unescape(text)).eq_ignore_ascii_case(wanted);
            is(this, name) && is(asked, value)
        })
    }
}

/// How a request path is understood.
#[derive(Debug, Clone, Copy)]
pub enum Found {
    Surface(&'static Surface),
    /// An endpoint whose text cannot be read: the policy says whether it may pass.
    Unknown,
}

/// Finds the surface of a request.
pub fn find(method: &Method, path: &str) -> Found {
    let path = normalise(path);
    let mut serving = SURFACES.iter().filter(|surface| (surface.serves)(&path));
    match serving.find(|surface| surface.methods.contains(&method.as_str())) {
        Some(surface) => Found::Surface(surface),
        None => Found::Unknown,
    }
}

/// Whether a normalised path ends in one of these lists of segments; `*` stands for any one segment.
pub(super) fn ends(path: &str, lists: &[&[&str]]) -> bool {
    lists.iter().any(|list| {
        let mut there = path.rsplit('/').filter(|segment| !segment.is_empty());
        list.iter().rev().all(|wanted| there.next().is_some_and(|segment| *wanted == "*" || *wanted == segment))
    })
}

fn normalise(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in unescape(path) {
        let char = if byte == b'\\' { '/' } else { char::from(byte).to_ascii_lowercase() };
        if !(char == '/' && out.ends_with('/')) {
            out.push(char);
        }
    }
    // Dot segments (RFC 3986 §5.2.4).
    let mut parts: Vec<&str> = Vec::new();
    for part in out.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, ahead.next().and_then(hex), ahead.next().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                bytes = ahead;
                out.push(high << 4 | low);
            }
            _ => out.push(byte),
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> Option<&'static str> {
        match find(&Method::POST, path) {
            Found::Surface(s) => Some(s.id),
            Found::Unknown => None,
        }
    }

    #[test]
    fn no_spelling_of_a_path_is_a_way_round() {
        for path in [
            "/v1/chat/completions",
            "/V1/Chat/Completions",
            "//v1//chat/completions/",
            "/v1/chat%2fcompletions",
            "/v1/%63hat/completions",
            "/v1/./chat/x/../completions",
            "/openai/v1/chat/completions",
            "/openai/deployments/gpt/chat/completions",
            "\\v1\\chat\\completions",
            "/chat/completions",
        ] {
            assert_eq!(id(path), Some("openai.chat"), "{path}");
        }
        for path in
            ["/v1/responses", "/V1/RESPONSES/", "/openai/responses", "/v1/%72esponses", "/backend-api/codex/responses"]
        {
            assert_eq!(id(path), Some("openai.responses"), "{path}");
        }
        for path in [
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            "/models/x:generateContent",
            "/V1/MODELS/X:GENERATECONTENT",
            "/v1beta/models/x%3AgenerateContent",
            "/v1beta/models/x:generate%43ontent/",
            "/v1beta/models%2fx:streamGenerateContent",
            "/v1beta/tunedModels/mine:generateContent",
            "/v1/projects/p/locations/l/publishers/google/models/x:streamGenerateContent",
            "/v1/projects/p/locations/l/endpoints/1:generateContent",
            "/v1beta//models/./x:generateContent//",
        ] {
            assert_eq!(id(path), Some("gemini.generate"), "{path}");
        }
        assert_eq!(id("/v1/messages"), Some("anthropic.messages"));
        for path in [
            "/v1/chat/completions/x",
            "/v1/responses/a/b",
            "/v1/messages/batches/a/b",
            "/v1beta/models/x:generateContent/y",
            "/v1beta/models/generateContent",
            "/v1/files/f/content",
            "/v1/models",
            "/v2/tokenize",
            "/invoke",
            "/",
            "/v1/%",
        ] {
            assert_eq!(id(path), None, "{path}");
        }
        assert!(matches!(find(&Method::GET, "/v1/chat/completions"), Found::Unknown));
        assert!(matches!(find(&Method::GET, "/v1/responses"), Found::Unknown));
        assert!(matches!(find(&Method::PUT, "/v1/models"), Found::Unknown));
    }

    #[test]
    fn every_endpoint_has_its_surface() {
        for (method, path, surface) in [
            ("POST", "/v1/completions", "openai.completions"),
            ("POST", "/openai/deployments/d/embeddings", "openai.embeddings"),
            ("POST", "/v1/moderations", "openai.moderations"),
            ("POST", "/v1/images/edits", "openai.images"),
            ("POST", "/v1/audio/speech", "openai.speech"),
            ("POST", "/v1/audio/translations", "openai.transcriptions"),
            ("GET", "/v1/responses/resp_1", "openai.responses.stored"),
            ("GET", "/v1/responses/resp_1/input_items", "openai.responses.stored"),
            ("POST", "/v1/responses/compact", "openai.responses.stored"),
            ("POST", "/v1/files", "openai.files"),
            ("POST", "/v1/Conversations//conv_1/items", "openai.conversations"),
            ("DELETE", "/openai/v1/conversations/conv_1/items/msg_1", "openai.conversations"),
            ("GET", "/v1/vector_stores/vs_1/files/f/content", "openai.vector_stores"),
            ("DELETE", "/v1/vector_stores/vs_1/files/f", "openai.vector_stores"),
            ("PATCH", "/v1beta/cachedContents/c", "gemini.cached_contents"),
            ("POST", "/v1beta/models/x:batchGenerateContent", "gemini.batches"),
            ("GET", "/v1beta/batches/1", "gemini.batches"),
            ("GET", "/v1/batches/batch_1", "openai.batches"),
            ("POST", "/v1/projects/p/locations/l/cachedContents", "gemini.cached_contents"),
            ("DELETE", "/v1/files/f", "openai.files"),
            ("GET", "/openai/v1/Files/f//content/", "openai.file_content"),
            ("POST", "/v1/batches/b/cancel", "openai.batches"),
            ("GET", "/v1/models/org/name", "models"),
            ("POST", "/v1/messages/count_tokens", "anthropic.count_tokens"),
            ("POST", "/v1/messages/batches", "anthropic.batches"),
            ("GET", "/v1/messages/batches/b/results", "anthropic.batch_results"),
            ("POST", "/v1beta/models/x:countTokens", "gemini.count_tokens"),
            ("POST", "/v1beta/models/x:batchEmbedContents", "gemini.embeddings"),
            ("POST", "/v1beta/interactions", "gemini.interactions"),
            ("POST", "/model/us.amazon.nova%3A0/converse-stream", "bedrock.converse"),
            ("POST", "/model/arn%3Aaws%3Abedrock%2Fx/invoke", "bedrock.invoke"),
            ("POST", "/api/chat", "ollama.chat"),
            ("POST", "/api/generate", "ollama.generate"),
            ("POST", "/api/embeddings", "ollama.embed"),
            ("GET", "/api/tags", "ollama.info"),
            ("POST", "/v2/chat", "cohere.chat"),
            ("POST", "/v1/embed", "cohere.embed"),
            ("POST", "/v2/rerank", "cohere.rerank"),
        ] {
            let Found::Surface(found) = find(&method.parse().unwrap(), path) else { panic!("{method} {path}") };
            assert_eq!(found.id, surface, "{method} {path}");
        }
    }

    #[test]
    fn no_endpoint_has_two_surfaces() {
        for surface in SURFACES {
            assert_eq!(SURFACES.iter().filter(|other| other.id == surface.id).count(), 1);
            for route in surface.routes {
                let (method, path) = route.split_once(' ').unwrap();
                let path = path.replace(['{', '}'], "");
                let Found::Surface(found) = find(&method.parse().unwrap(), &path) else { panic!("{route}") };
                assert_eq!(found.id, surface.id, "{route}");
            }
            assert!(!surface.routes.is_empty());
        }
    }

    #[test]
    fn a_model_may_stand_in_the_path() {
        let model = |path| Address { path, query: None }.model();
        assert_eq!(model("/v1beta/models/gemini-2.5:generateContent"), "gemini-2.5");
        assert_eq!(model("/model/us.amazon.nova-lite-v1%3A0/converse"), "us.amazon.nova-lite-v1:0");
        assert_eq!(model("/model/arn%3Aaws%3Aprofile%2Fx/invoke"), "arn:aws:profile/x");
        assert_eq!(model("/v1/x"), "");
        let kept = |path| Address { path, query: None }.kept_id();
        assert_eq!(kept("/v1/responses/resp_1/input_items").as_deref(), Some("resp_1"));
        assert_eq!(kept("/v1/messages//Batches/b%31/results").as_deref(), Some("b1"));
        assert_eq!((kept("/v1/responses/compact"), kept("/v1/files")), (None, None));
        assert_eq!(kept("/v1/conversations/conv_1/items/msg_1").as_deref(), Some("conv_1"));
        assert_eq!(kept("/v1/vector_stores/vs_1/files/f/content").as_deref(), Some("vs_1"));
        assert_eq!(kept("/v1beta/batches/1:cancel").as_deref(), Some("1"));
        assert_eq!(kept("/v1beta/CachedContents/c").as_deref(), Some("cachedContents/c"));
        let on_vertex = kept("/v1/projects/p/locations/l/cachedContents/c");
        assert_eq!(on_vertex.as_deref(), Some("projects/p/locations/l/cachedContents/c"));
    }

    #[test]
    fn an_address_is_read_in_any_spelling() {
        let address = Address { path: "/v1beta/models/a%2Fb%3agenerateContent", query: Some("key=k&%24alt=%73SE&x") };
        assert_eq!(address.decoded(), "/v1beta/models/a/b:generateContent");
        assert!(address.asks("$alt", "sse") && !address.asks("alt", "sse") && !address.asks("key", "sse"));
        assert!(!Address { path: "/", query: None }.asks("alt", "sse"));
    }
}
