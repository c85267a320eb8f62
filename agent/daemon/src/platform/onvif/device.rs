//! One camera, asked by SOAP over HTTP: its clock, its profiles and the address of each one's pictures.
//!
//! The user name travels with a digest of password, nonce and time. The time is the camera's own: clocks in
//! classrooms stand years apart, and a camera refuses a digest of another time.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};
use lectern_base::{chance, clock};
use lectern_wire::capture::without_userinfo;
use roxmltree::Node;
use sha1::{Digest as _, Sha1};
use url::Url;

use super::xml;

const CONNECT: Duration = Duration::from_secs(3);
/// One request, from the first byte to the last.
const REQUEST: Duration = Duration::from_secs(6);
/// Most profiles whose pictures are asked for; cameras have two to five.
const MOST_PROFILES: usize = 8;

/// Who asks.
#[derive(Clone)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Its password; it leaves this machine only as a digest.
    pub password: String,
}

/// Pictures that a camera offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The camera's name for them.
    pub profile: String,
    /// Their RTSP address, without user and password.
    pub url: Url,
    /// `H264` and the like; empty when it does not say.
    pub codec: String,
    /// Width and height, pixels.
    pub size: Option<(u32, u32)>,
    /// Most pictures per second.
    pub fps: Option<u32>,
}

/// The client for all cameras: follows nowhere, and goes through no proxy.
pub fn client() -> reqwest::Result<reqwest::Client> {
    let never = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(never).connect_timeout(CONNECT).timeout(REQUEST).build()
}

/// A camera that can be asked.
pub struct Device<'a> {
    client: &'a reqwest::Client,
    service: Url,
    login: Option<&'a Login>,
    /// Its time less our monotonic clock.
    clock: SignedDuration,
}

impl<'a> Device<'a> {
    /// A camera that takes requests at an address.
    pub fn new(client: &'a reqwest::Client, service: Url, login: Option<&'a Login>) -> Self {
        let own = SignedDuration::from_millis(clock::wall_ms()) - mono();
        Self { client, service, login, clock: own }
    }

    /// All pictures it offers.
    ///
    /// # Errors
    /// A sentence.
    pub async fn streams(&mut self) -> Result<Vec<Stream>, String> {
        if let Some(time) = self.read_clock().await? {
            self.clock = time - mono();
        }
        let media = self.media_service().await?;
        let ask = "<GetProfiles xmlns=\"http://www.onvif.org/ver10/media/wsdl\"/>";
        let profiles = self.ask(&media, ask, true, |root| {
            xml::all(root, "Profiles").take(MOST_PROFILES).map(profile).collect::<Vec<_>>()
        });
        let mut streams = Vec::new();
        for (token, mut stream) in profiles.await? {
            let ask = format!(
                "<GetStreamUri xmlns=\"http://www.onvif.org/ver10/media/wsdl\"><StreamSetup>\
                 <Stream xmlns=\"http://www.onvif.org/ver10/schema\">RTP-Unicast</Stream>\
                 <Transport xmlns=\"http://www.onvif.org/ver10/schema\"><Protocol>RTSP</Protocol></Transport>\
                 </StreamSetup><ProfileToken>{}</ProfileToken></GetStreamUri>",
                xml::escaped(&token)
            );
            let address = self.ask(&media, &ask, true, |root| xml::text(root, "Uri")).await?;
            stream.url = self.checked(&address)?;
            streams.push(stream);
        }
        if streams.is_empty() { Err("it offers no pictures".into()) } else { Ok(streams) }
    }

    /// Its maker and model.
    ///
    /// # Errors
    /// A sentence.
    pub async fn made_by(&self) -> Result<(String, String), String> {
        let ask = "<GetDeviceInformation xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/>";
        let answer = |root: Node<'_, '_>| (xml::text(root, "Manufacturer"), xml::text(root, "Model"));
        self.ask(&self.service, ask, true, answer).await
    }

    /// What its clock shows; nothing when it does not say. Asked without a name, which is allowed.
    async fn read_clock(&self) -> Result<Option<SignedDuration>, String> {
        let ask = "<GetSystemDateAndTime xmlns=\"http://www.onvif.org/ver10/device/wsdl\"/>";
        match self.ask(&self.service, ask, false, device_time).await {
            Ok(time) => Ok(time),
            // Some want a name even for that: then our own clock must do.
            Err(e) if e == NOT_ALLOWED => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Where it takes requests about pictures. Only the path is believed: many name an address of another network.
    async fn media_service(&self) -> Result<Url, String> {
        let ask = "<GetCapabilities xmlns=\"http://www.onvif.org/ver10/device/wsdl\"><Category>Media</Category></GetCapabilities>";
        let named = self.ask(&self.service, ask, true, |root| {
            xml::first(root, "Media").map(|media| xml::text(media, "XAddr")).unwrap_or_default()
        });
        let named = named.await?;
        let mut media = self.service.clone();
        if let Ok(named) = Url::parse(&named) {
            media.set_path(named.path());
            media.set_query(named.query());
        }
        Ok(media)
    }

    /// A stream's address, of this camera and without secrets.
    fn checked(&self, address: &str) -> Result<Url, String> {
        let url = Url::parse(&without_userinfo(address));
        let url =
            url.map_err(|e| format!("it gives {address:?} for its pictures, which is no address: {e}"))?;
        if url.scheme() != "rtsp" {
            return Err(format!("it gives its pictures by {}, not by rtsp", url.scheme()));
        }
        // The host of a non-special scheme is not parsed as a number: compared as text.
        if url.host_str() != self.service.host_str() {
            let host = url.host_str().unwrap_or("nobody");
            return Err(format!(
                "it names {host} for its pictures, another machine than itself; enter its own address by hand"
            ));
        }
        Ok(url)
    }

    /// Sends one request and takes out of the answer what `take` wants.
    async fn ask<T>(
        &self,
        to: &Url,
        body: &str,
        named: bool,
        take: impl FnOnce(Node<'_, '_>) -> T,
    ) -> Result<T, String> {
        let header = match self.login.filter(|_| named) {
            Some(login) => security(login, chance::bytes(), self.clock + mono()),
            None => String::new(),
        };
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\">\
             <s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
        );
        let request = self.client.post(to.clone()).body(document);
        let request = request.header("Content-Type", "application/soap+xml; charset=utf-8");
        let mut response = request.send().await.map_err(|e| unanswered(&e))?;
        let status = response.status();
        if status == reqwest::StatusCode::UNAUTHORIZED {
            return Err(NOT_ALLOWED.into());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| unanswered(&e))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > xml::MAX_BYTES {
                return Err(format!("its answer is larger than {} KiB", xml::MAX_BYTES / 1024));
            }
        }
        let answer = xml::read(&bytes, |root| match xml::first(root, "Fault") {
            Some(fault) => Err(refused(fault)),
            None => Ok(take(root)),
        });
        match answer {
            Ok(Ok(_)) if !status.is_success() => Err(format!("it answers {status}")),
            Ok(answer) => answer,
            Err(_) if !status.is_success() => Err(format!("it answers {status}")),
            Err(e) => Err(e),
        }
    }
}

/// What a camera's refusal of a name, or of none, is told as.
const NOT_ALLOWED: &str = "it does not tell its pictures' addresses to everybody: a user of the camera with the right password is needed (--user NAME --password-file FILE)";

fn refused(fault: Node<'_, '_>) -> String {
    let codes = xml::all(fault, "Value").filter_map(|n| n.text()).collect::<Vec<_>>().join(" ");
    let reason = xml::text(fault, "Text");
    let reason = if reason.is_empty() { xml::text(fault, "faultstring") } else { reason };
    let about_login = ["NotAuthorized", "FailedAuthentication", "InvalidSecurity"];
    if about_login.iter().any(|code| codes.contains(code)) || reason.to_lowercase().contains("authori") {
        return NOT_ALLOWED.into();
    }
    let what = if reason.is_empty() { xml::plain(&codes) } else { reason };
    format!("it refuses: {what}")
}

fn unanswered(e: &reqwest::Error) -> String {
    if e.is_timeout() {
        format!("it does not answer within {} s", REQUEST.as_secs())
    } else if e.is_connect() {
        "nobody listens at the address it names".into()
    } else {
        "it breaks off in the middle of an answer".into()
    }
}

fn mono() -> SignedDuration {
    SignedDuration::try_from(clock::mono()).unwrap_or_default()
}

/// A profile's token and what it says of its pictures; their address is asked for by itself.
fn profile(node: Node<'_, '_>) -> (String, Stream) {
    let token = xml::plain(node.attribute("token").unwrap_or_default());
    let encoder = xml::first(node, "VideoEncoderConfiguration");
    let size = encoder.and_then(|e| Some((xml::number(e, "Width")?, xml::number(e, "Height")?)));
    #[expect(clippy::expect_used, reason = "a constant that is a valid address")]
    let nowhere = Url::parse("rtsp://x").expect("a valid address");
    let stream = Stream {
        // A profile's own name stands before those of its parts.
        profile: xml::text(node, "Name"),
        url: nowhere,
        codec: encoder.map(|e| xml::text(e, "Encoding")).unwrap_or_default(),
        size,
        fps: encoder.and_then(|e| xml::number(e, "FrameRateLimit")),
    };
    (token, stream)
}

/// The camera's clock out of its answer.
fn device_time(root: Node<'_, '_>) -> Option<SignedDuration> {
    let utc = xml::first(root, "UTCDateTime")?;
    let part = |name| xml::number(utc, name).and_then(|n| i16::try_from(n).ok());
    let small = |name| part(name).and_then(|n| i8::try_from(n).ok());
    // 60 is a leap second, and some count that far.
    let second = small("Second")?.min(59);
    let time = DateTime::new(
        part("Year")?,
        small("Month")?,
        small("Day")?,
        small("Hour")?,
        small("Minute")?,
        second,
        0,
    );
    let at = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(SignedDuration::from_millis(at.timestamp().as_millisecond()))
}

/// The header that says who asks: WS-UsernameToken with a digest.
fn security(login: &Login, nonce: [u8; 16], time: SignedDuration) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(0);
    let created =
        Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let digest = digest(&nonce, &created, &login.password);
    const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
    const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
    const TYPE: &str =
        "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
    const CODING: &str =
        "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
    format!(
        "<w:Security s:mustUnderstand=\"1\" xmlns:w=\"{WSSE}\" xmlns:u=\"{WSU}\"><w:UsernameToken><w:Username>{}</w:Username>\
         <w:Password Type=\"{TYPE}\">{digest}</w:Password><w:Nonce EncodingType=\"{CODING}\">{}</w:Nonce>\
         <u:Created>{created}</u:Created></w:UsernameToken></w:Security>",
        xml::escaped(&login.user),
        BASE64.encode(nonce)
    )
}

/// SHA-1, as the standard wants it: of nonce, time and password.
fn digest(nonce: &[u8], created: &str, password: &str) -> String {
    BASE64.encode(Sha1::new().chain_update(nonce).chain_update(created).chain_update(password).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // The example of the ONVIF Application Programmer's Guide.
        let nonce = BASE64.decode("LKqI6G/AikKCQrN0zqZFlg==").expect("a nonce");
        assert_eq!(digest(&nonce, "2010-09-16T07:50:45Z", "userpassword"), "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
    }

    #[test]
    fn a_login_never_shows_its_password() {
        let login = Login { user: "a<b".into(), password: "tulip".into() };
        let header = security(&login, [7; 16], SignedDuration::from_secs(1_356_998_405));
        assert!(header.contains("<w:Username>a&lt;b</w:Username>") && !header.contains("tulip"), "{header}");
        assert!(header.contains("<u:Created>2013-01-01T00:00:05Z</u:Created>"), "{header}");
    }

    #[test]
    fn a_cameras_clock_is_read_wherever_it_stands() {
        let time = |inner: &str| {
            let document = format!("<a><UTCDateTime>{inner}</UTCDateTime></a>");
            xml::read(document.as_bytes(), device_time).expect("XML")
        };
        let good = "<Time><Hour>0</Hour><Minute>0</Minute><Second>5</Second></Time><Date><Year>2013</Year><Month>1</Month><Day>1</Day></Date>";
        assert_eq!(time(good), Some(SignedDuration::from_secs(1_356_998_405)));
        for bad in [
            "",
            &good.replace("2013", "99999"),
            &good.replace("<Month>1", "<Month>13"),
            &good.replace("<Hour>0", "<Hour>-1"),
        ] {
            assert_eq!(time(bad), None, "{bad}");
        }
    }

    #[test]
    fn pictures_are_taken_from_the_camera_itself_and_without_secrets() {
        let client = client().expect("a client");
        let service = Url::parse("http://10.0.0.20:2020/onvif/device_service").expect("an address");
        let device = Device::new(&client, service, None);
        let checked = |text: &str| device.checked(text).map(String::from);
        assert_eq!(
            checked("rtsp://admin:tulip@10.0.0.20:554/stream1?a=1&b=2"),
            Ok("rtsp://10.0.0.20:554/stream1?a=1&b=2".into())
        );
        assert!(checked("rtsp://10.0.0.21/stream1").expect_err("another").contains("10.0.0.21"));
        assert!(
            checked("http://10.0.0.20/x").is_err() && checked("").is_err() && checked("rtsp://").is_err()
        );
    }

    #[test]
    fn whatever_a_camera_answers_is_read_or_refused() {
        use lectern_base::mangle::{PLAIN, mangle};
        mangle(crate::mangled::repository(), "onvif", &[], PLAIN, |bytes| {
            let taken = xml::read(bytes, |root| {
                let streams: Vec<_> = xml::all(root, "Profiles").map(profile).collect();
                (streams, device_time(root), xml::first(root, "Body").map(refused))
            });
            drop(taken);
        });
    }
}
