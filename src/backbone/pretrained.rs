//! The pretrained backbone of the public API: configuration, parameters, tokenizer, and their source.

use std::path::Path;
use std::sync::Arc;

use super::cached::Cached;
use super::config::Config;
use super::family::Names;
use super::layers::Map;
use super::misplaced::not_a_model;
use super::parameters::{Parameters, check_memory};
use super::pooling::Pooling;
use super::sentence::sentence_specs;
use super::sentence_modules::SentenceModules;
use super::spec::{Owner, Spec};
use super::transformer::Transformer;
use super::weights::{Checkpoint, LoadReport, WEIGHT_FILES};
use crate::error::{Error, Result};
use crate::gguf::{self, Gguf};
use crate::matmul::Precision;
use crate::rng::{Key, Stream};
use crate::text::{Encodings, GENERATION_CONFIG, Limit, Role, SideFiles, Tokenizer, Windows};

/// A pretrained transformer with its tokenizer. Immutable; cloning shares everything.
#[derive(Clone)]
pub struct Backbone {
    pub config: Arc<Config>,
    /// Encoder, pooler and dense layers of sentence vectors, named as in a checkpoint without a head.
    pub params: Parameters,
    pub tokenizer: Arc<Tokenizer>,
    pub side_files: Arc<SideFiles>,
    pub report: Arc<LoadReport>,
    /// The directory it was read from, or a description of how it was made.
    pub source: String,
    pub(super) encoder: Cached<Transformer>,
}

impl Backbone {
    /// The parameters of the encoder, the mask embedding (XLNet), the pooler if the family's classifier uses it, and
    /// the dense layers of sentence vectors.
    pub fn specs(config: &Config) -> Vec<Spec> {
        let mut specs = Self::specs_of_transformer(config);
        specs.extend(sentence_specs(config));
        specs
    }

    /// The parameters stored in the transformer's own weight files.
    pub(crate) fn specs_of_transformer(config: &Config) -> Vec<Spec> {
        let mut specs = Transformer::specs(config);
        let (d, pooler) = (config.hidden_size, config.family.names.pooler);
        if config.has_pooler {
            Map::new(pooler, [d, d], true, config.initializer.init(config.initializer.std)).specs(&mut specs);
        }
        let mask = config.family.names.mask_embedding;
        if !mask.is_empty() {
            specs.push(Spec::new(mask, &[1, 1, d], config.initializer.init(config.initializer.std)));
        }
        specs
    }

    /// Read a Hugging Face directory or a GGUF file. A missing pooler is newly initialised, heads are left out; both
    /// are reported.
    pub fn from_pretrained(dir: &Path) -> Result<Self> {
        Ok(Self::from_pretrained_with(dir, |_| Ok(Vec::new()))?.0)
    }

    /// As [`Backbone::from_pretrained`], with the parameters of a head, which must all be present.
    pub(crate) fn from_pretrained_with(
        dir: &Path,
        head: impl FnOnce(&Config) -> Result<Vec<Spec>>,
    ) -> Result<(Self, Parameters)> {
        let (config, side_files, checkpoint) = if let Some(file) = gguf::find(dir, &WEIGHT_FILES)? {
            Self::read_gguf(&file)?
        } else {
            let (config, side_files) = Self::read_directory(dir)?;
            (config, side_files, Checkpoint::open(&SideFiles::transformer_directory(dir)?)?)
        };
        let key = Key::new(0, Stream::Init);
        let (own, head) = (Self::specs_of_transformer(&config), head(&config)?);
        let (params, mut report) = checkpoint.load(
            &config.family.names,
            &[own, head.clone()].concat(),
            |name| config.is_pooler(name),
            |name| config.is_left_out(name),
            key,
        )?;
        let (mut own, head) = params.split_heads();
        Self::load_dense(&config, dir, &mut own, &mut report)?;
        let backbone = Self::assemble(config, own, side_files, report, dir.display().to_string())?;
        Ok((backbone, head))
    }

    /// Read the dense layers of sentence vectors, each from its own weight files.
    pub(crate) fn load_dense(
        config: &Config,
        dir: &Path,
        params: &mut Parameters,
        report: &mut LoadReport,
    ) -> Result<()> {
        let specs = sentence_specs(config);
        for dense in config.sentence.iter().flat_map(|modules| &modules.dense) {
            let before = format!("{}.", dense.folder);
            let own = specs.iter().filter_map(|spec| {
                let name = spec.name.strip_prefix(&before)?;
                Some(Spec::new(name, &spec.shape, spec.init))
            });
            let none = |_: &str| false;
            let (read, of_dense) = Checkpoint::open(&dir.join(&dense.folder))?.load(
                &Names::NONE,
                &own.collect::<Vec<_>>(),
                none,
                none,
                Key::new(0, Stream::Init),
            )?;
            report.loaded += of_dense.loaded;
            for (all, own) in
                [(&mut report.converted, &of_dense.converted), (&mut report.not_finite, &of_dense.not_finite)]
            {
                all.extend(own.iter().map(|name| format!("{before}{name}")));
            }
            for (name, array) in read.iter() {
                params.insert(format!("{before}{name}"), &Owner::Backbone, array.clone());
            }
        }
        Ok(())
    }

    /// Configuration, side files and weights of a GGUF file, as a model directory has them.
    fn read_gguf(path: &Path) -> Result<(Config, SideFiles, Checkpoint)> {
        let gguf = Gguf::open(path)?;
        let model_type = gguf.config().get("model_type").and_then(serde_json::Value::as_str).unwrap_or_default();
        let mut side_files = SideFiles::of_tokenizer(gguf.tokenizer()?, model_type)?;
        if let Some(mode) = gguf.pooling()? {
            let pooling = serde_json::json!({"pooling_mode": mode});
            side_files.0.insert("1_Pooling/config.json".into(), pooling.to_string().into_bytes());
        }
        let text = serde_json::Value::Object(gguf.config().clone()).to_string();
        let config = Config::of_directory(&text, &side_files).map_err(|e| match e {
            Error::Value(message) => Error::Value(format!("{}: {message}", path.display())),
            other => other,
        })?;
        for (name, template) in gguf.chat_templates()? {
            side_files.0.insert(name, template.into_bytes());
        }
        if let Some(generation) = gguf.generation_config()?.filter(|_| config.is_causal()) {
            side_files.0.insert(GENERATION_CONFIG.into(), generation.to_string().into_bytes());
        }
        Ok((config, side_files, Checkpoint::from_gguf(gguf)))
    }

    /// Configuration and side files of a model directory.
    pub fn read_directory(dir: &Path) -> Result<(Config, SideFiles)> {
        let path = SideFiles::transformer_directory(dir)?.join("config.json");
        if !path.is_file() {
            return Err(not_a_model(dir));
        }
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let text = String::from_utf8(text).map_err(|e| Error::Value(format!("{}: not UTF-8: {e}", path.display())))?;
        let mut files = SideFiles::read(dir)?;
        if is_of_version_1(dir) {
            // Version 1 did not know modules: a `modules.json` there is left over from an older model.
            let model_type = Config::parse(&text)?.model_type().to_string();
            files = files.without_modules().of_version_1(Some(&model_type))?;
        }
        let config = Config::of_directory(&text, &files).map_err(|e| match e {
            Error::Value(message) => Error::Value(format!("{}: {message}", dir.display())),
            other => other,
        })?;
        if let Some(modules) = &config.sentence {
            modules.write(&mut files, config.hidden_size)?;
        }
        let files = match config.raw.get("tokenizer_class").and_then(serde_json::Value::as_str) {
            Some(class) => files.with_class(class)?,
            None => files,
        };
        Ok((config, files))
    }

    /// A new model of this configuration, initialised as published: normal weights, zero biases, unit norms.
    pub fn from_config(config: Config, side_files: SideFiles, seed: u64) -> Result<Self> {
        let side_files = match side_files.modules()? {
            Some(_) => Tokenizer::from_files(&side_files, Some(config.model_type()))?.files_among(&side_files)?,
            None => side_files.without_model(),
        };
        let key = Key::new(seed, Stream::Init);
        let specs = Self::specs(&config);
        check_memory(specs.iter())?;
        let params = Parameters::initialised(&specs, key)?;
        let model =
            Self::assemble(config, params, side_files, LoadReport::default(), format!("configuration, seed {seed}"))?;
        match model.tokenizer.beyond(model.config.vocab_size)[..] {
            [] => Ok(model),
            [.., (last, _)] => Err(Error::Data(format!(
                "{}: the tokenizer has ids up to {last}, the configuration vocab_size {}; give it at least {}",
                model.source,
                model.config.vocab_size,
                last + 1
            ))),
        }
    }

    /// Assemble the parts and check that the tokenizer's ids are within the embedding table, except those of added
    /// tokens.
    pub fn assemble(
        config: Config,
        params: Parameters,
        side_files: SideFiles,
        report: LoadReport,
        source: String,
    ) -> Result<Self> {
        let model_type = config.raw.get("model_type").and_then(serde_json::Value::as_str);
        let tokenizer = Tokenizer::from_files(&side_files, model_type)?;
        // Added tokens that no text uses are common, so only texts that contain them are errors.
        if tokenizer.vocab_size() > config.vocab_size
            && tokenizer.beyond(config.vocab_size).iter().any(|(_, token)| !tokenizer.is_added(token))
        {
            return Err(Error::Data(format!(
                "{source}: the tokenizer has ids up to {}, config.json says vocab_size {}; they are of different models",
                tokenizer.vocab_size() - 1,
                config.vocab_size
            )));
        }
        Ok(Self {
            config: Arc::new(config),
            params,
            tokenizer: Arc::new(tokenizer),
            side_files: Arc::new(side_files),
            report: Arc::new(report),
            source,
            encoder: Cached::default(),
        })
    }

    /// A copy whose byte-level tokenizer puts a space before a text that does not begin with one, as before every other
    /// word; other kinds of tokenizers are unchanged.
    pub fn with_prefix_space(&self) -> Result<Self> {
        let Some(files) = self.side_files.with_prefix_space(&self.tokenizer)? else { return Ok(self.clone()) };
        let model_type = self.config.raw.get("model_type").and_then(serde_json::Value::as_str);
        let tokenizer = Arc::new(Tokenizer::from_files(&files, model_type)?);
        Ok(Self { tokenizer, side_files: Arc::new(files), ..self.clone() })
    }

    /// A copy whose text classifier takes the vectors of `pooling`, side by side, instead of those that the directory
    /// specifies.
    pub fn with_classifier_pooling(&self, pooling: Vec<Pooling>) -> Result<Self> {
        Ok(Self { config: Arc::new(self.config.with_classifier_pooling(pooling)?), ..self.clone() })
    }

    /// The longest input in tokens: the number of positions, or less if the files beside the model say so.
    pub fn max_length(&self) -> usize {
        self.limit().tokens
    }

    /// The longest input in tokens, and the setting that limits it.
    pub fn limit(&self) -> Limit {
        let positions = Limit { tokens: self.config.max_length, source: "the positions that config.json has" };
        self.tokenizer.max_length().filter(|limit| limit.tokens <= positions.tokens).unwrap_or(positions)
    }

    /// Cut texts into windows, as [`Tokenizer::encode_windows`](crate::text::Tokenizer::encode_windows) does.
    pub fn encode_windows(&self, texts: &[String], max_length: Option<usize>) -> Result<Windows> {
        let windows = self.tokenizer.encode_windows(texts, self.checked_length(max_length)?.tokens)?;
        let of_window = |window| windows.texts.get(windows.encodings.items(window).start);
        self.check_ids(&windows.encodings, |window| {
            of_window(window).map_or_else(String::new, |t| format!("text {t}"))
        })?;
        Ok(windows)
    }

    /// Check that the embedding has a row for each id; `name` describes a text for the error message.
    pub(crate) fn check_ids(&self, encodings: &Encodings, name: impl Fn(usize) -> String) -> Result<()> {
        let rows = self.config.vocab_size;
        for text in 0..encodings.len() {
            if let Some(&id) = encodings.ids(text).iter().find(|&&id| id as usize >= rows) {
                let token = self.tokenizer.text_of(id).map_or_else(String::new, |token| format!(" ({token:?})"));
                return Err(Error::Data(format!(
                    "{} has the token id {id}{token}, the model has vocab_size {rows}: no row for it",
                    name(text)
                )));
            }
        }
        Ok(())
    }

    /// The id of the token with this role; an error if the embedding has no row for it.
    pub(crate) fn token(&self, role: Role) -> Result<Option<u32>> {
        let id = self.tokenizer.with_role(role, &self.side_files, &self.config.raw)?;
        match id.filter(|&id| id as usize >= self.config.vocab_size) {
            Some(id) => Err(Error::Data(format!(
                "the tokenizer's {role:?} token has the id {id}, the model has vocab_size {}: no row for it",
                self.config.vocab_size
            ))),
            None => Ok(id),
        }
    }

    fn checked_length(&self, max_length: Option<usize>) -> Result<Limit> {
        let limit = max_length.map_or_else(|| self.limit(), |tokens| Limit { tokens, source: "" });
        let positions = self.config.max_length;
        if limit.tokens > positions {
            return Err(Error::Value(format!(
                "max_length={}: the model has positions for {positions} tokens at most",
                limit.tokens
            )));
        }
        Ok(limit)
    }

    /// Encode texts, or pairs of texts, each cut to `max_length` tokens (default: [`Backbone::max_length`]).
    pub fn encode(&self, texts: &[String], pairs: Option<&[String]>, max_length: Option<usize>) -> Result<Encodings> {
        let (limit, segments) = (self.checked_length(max_length)?, self.config.embedding.segments);
        let encodings = self.tokenizer.encode(texts, pairs, limit.tokens)?.limited_by(limit.source);
        for text in 0..encodings.len() {
            let segment = encodings.segments(text).iter().find(|&&s| segments > 0 && usize::from(s) >= segments);
            if let Some(segment) = segment {
                let message =
                    format!("text {text} has the segment {segment}, the model has type_vocab_size {segments}");
                return Err(Error::Data(message));
            }
            if encodings.ids(text).is_empty() {
                return Err(Error::Data(format!(
                    "text {text} has no tokens, and the tokenizer adds none; give it a post-processor or leave empty texts \
                     out"
                )));
            }
        }
        self.check_ids(&encodings, |text| format!("text {text}"))?;
        Ok(encodings)
    }

    /// The poolings that the directory specifies, side by side; else the mean, or the last token for a decoder.
    pub fn default_pooling(&self) -> Vec<Pooling> {
        match &self.config.sentence {
            Some(modules) => modules.pooling.clone(),
            None if self.config.is_causal() => vec![Pooling::Last],
            None => vec![Pooling::Mean],
        }
    }

    /// The prompt that the directory puts before every text to embed.
    pub fn prompt(&self) -> Result<Option<String>> {
        SentenceModules::prompt(&self.side_files)
    }

    /// The frozen encoder, with products in `precision`; cached between calls.
    pub fn encoder(&self, precision: Precision) -> Result<Arc<Transformer>> {
        self.encoder.get(precision, || Transformer::load(&self.params, &self.config, precision))
    }

    /// Drop the cached encoder.
    pub(crate) fn forget_encoder(&self) {
        self.encoder.forget();
    }

    /// A copy with other parameters.
    #[must_use]
    pub fn with_params(&self, params: Parameters, report: LoadReport) -> Self {
        Self { params, report: Arc::new(report), encoder: Cached::default(), ..self.clone() }
    }
}

/// True if the directory was saved by an estimator of format version 1.
fn is_of_version_1(dir: &Path) -> bool {
    let metadata = std::fs::read(dir.join(METADATA)).ok();
    let json = metadata.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    json.is_some_and(|json| json["format_version"] == 1)
}

/// The file that an estimator's `save` writes beside the Hugging Face files.
pub(crate) const METADATA: &str = "warmstart.json";
