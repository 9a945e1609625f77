// Asks for a decision on a FHIR R4 record and prints it: what cannot wait, the options in their order, what to ask, and
// what was read of the record.
//
//   evaluate_fhir RECORD.json YYYY-MM-DD PATIENT_REFERENCE [HOST:PORT]
//
// Exit codes: 0 decided, 1 refused or unreachable, 2 wrong usage.

#include <cctype>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>

#include "eligibility/v1/eligibility_service.grpc.pb.h"

namespace api = eligibility::v1;

// gRPC sends the same bytes again, so the same request_id: an answer that was logged and then lost comes again.
static const char* const RETRIES = R"({"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 4,
    "initialBackoff": "0.5s", "backoffMultiplier": 2, "maxBackoff": "4s", "retryableStatusCodes": ["UNAVAILABLE"]}}]})";

static const int QUESTIONS = 5;

// ELIGIBILITY_STATUS_NOT_INDICATED becomes `NOT INDICATED`.
static std::string words(const std::string& name, const std::string& prefix) {
    std::string text = name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
    for (char& letter : text) {
        if (letter == '_') letter = ' ';
    }
    return text;
}

static std::string lower(std::string text) {
    for (char& letter : text) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    return text;
}

// A random UUID of version 4.
static std::string uuid() {
    std::random_device source;
    char text[37];
    std::snprintf(text, sizeof text, "%08x-%04x-4%03x-%04x-%04x%08x", source(), source() & 0xffffu, source() & 0xfffu,
                  0x8000u | (source() & 0x3fffu), source() & 0xffffu, source());
    return text;
}

static void show(const api::Decision& decision) {
    const auto& triage = decision.triage();
    std::cout << "suicide risk: " << lower(words(api::TriageLevel_Name(triage.level()), "TRIAGE_LEVEL_"))
              << (triage.provisional() == api::TRIAGE_STANDING_PROVISIONAL ? " (provisional)" : "") << "\n";
    for (const auto& referral : decision.referrals()) {
        if (referral.state() == api::REFERRAL_STATE_REQUIRED) {
            std::cout << "refer, " << lower(words(api::Urgency_Name(referral.urgency()), "URGENCY_")) << ": "
                      << referral.title() << ". " << referral.because() << "\n";
        } else if (referral.urgency() == api::URGENCY_EMERGENCY) {
            std::cout << "rule out now: " << referral.title() << ". " << referral.because() << "\n";
        }
    }
    int place = 0;
    for (const auto& name : decision.option_order()) {
        for (const auto& option : decision.options()) {
            if (option.option() != name) continue;
            std::cout << ++place << ". " << option.title() << ": "
                      << words(api::EligibilityStatus_Name(option.status()), "ELIGIBILITY_STATUS_") << ". "
                      << option.summary() << "\n";
        }
    }
    for (int i = 0; i < decision.missing_size() && i < QUESTIONS; ++i) {
        std::cout << "ask: " << decision.missing(i).question() << "\n";
    }
    if (decision.missing_size() > QUESTIONS) {
        std::cout << "... and " << decision.missing_size() - QUESTIONS << " more questions\n";
    }
}

static void show(const api::FhirReading& reading) {
    for (const auto& fact : reading.facts()) {
        std::cout << "read: " << fact.fact() << " = " << fact.value() << "\n";
    }
    for (const auto& candidate : reading.candidates()) {
        std::cout << "to confirm: " << candidate.fact() << ": " << candidate.suggests() << " (" << candidate.why()
                  << ")\n";
    }
}

int main(int count, char** arguments) {
    if (count < 4 || count > 5) {
        std::cerr << "usage: evaluate_fhir RECORD.json YYYY-MM-DD PATIENT_REFERENCE [HOST:PORT]\n";
        return 2;
    }
    std::ifstream file(arguments[1], std::ios::binary);
    if (!file) {
        std::cerr << arguments[1] << ": cannot be read\n";
        return 2;
    }
    api::EvaluateFhirRequest request;
    request.set_request_id(uuid());
    request.set_content(std::string(std::istreambuf_iterator<char>(file), {}));
    request.set_as_of(arguments[2]);
    // Whoever has a patient's data erased names the patient by this reference.
    request.set_patient_reference(arguments[3]);
    request.set_jurisdiction(api::JURISDICTION_US);
    request.set_purpose(api::PURPOSE_TEST);

    // Plain text is for loopback only; elsewhere use grpc::SslCredentials and a token.
    grpc::ChannelArguments options;
    options.SetMaxReceiveMessageSize(16 << 20);
    options.SetServiceConfigJSON(RETRIES);
    auto channel = grpc::CreateCustomChannel(count == 5 ? arguments[4] : "127.0.0.1:50051",
                                             grpc::InsecureChannelCredentials(), options);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    api::EvaluateFhirResponse response;
    const grpc::Status status = api::EligibilityService::NewStub(channel)->EvaluateFhir(&context, request, &response);
    if (!status.ok()) {
        // What is wrong with which field is in status.error_details(), a google.rpc.Status.
        std::cerr << "no decision (" << status.error_code() << "): " << status.error_message() << "\n";
        return 1;
    }
    show(response.decision());
    show(response.reading());
    std::cout << response.decision().disclaimer() << "\n";
    return 0;
}
