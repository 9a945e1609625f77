// Asks for a decision on a FHIR R4 record and prints what it says and what is missing.
//
//   ./evaluate_fhir RECORD.json YYYY-MM-DD [HOST:PORT]
//
// Exit codes: 0 decided, 1 refused or unreachable, 2 wrong usage.

#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include <google/protobuf/descriptor.h>
#include <grpcpp/grpcpp.h>

#include "eligibility/v1/eligibility_service.grpc.pb.h"

namespace api = eligibility::v1;

// ELIGIBILITY_STATUS_NOT_INDICATED is printed as NOT INDICATED.
static std::string words(const std::string& name, const std::string& prefix) {
    std::string text = name.rfind(prefix, 0) == 0 ? name.substr(prefix.size()) : name;
    for (char& letter : text) {
        if (letter == '_') letter = ' ';
    }
    return text;
}

int main(int count, char** arguments) {
    if (count < 3 || count > 4) {
        std::cerr << "usage: evaluate_fhir RECORD.json YYYY-MM-DD [HOST:PORT]\n";
        return 2;
    }
    std::ifstream file(arguments[1], std::ios::binary);
    if (!file) {
        std::cerr << arguments[1] << ": cannot be read\n";
        return 2;
    }
    api::EvaluateFhirRequest request;
    request.set_content(std::string(std::istreambuf_iterator<char>(file), {}));
    request.set_as_of(arguments[2]);
    request.set_jurisdiction(api::JURISDICTION_US);
    request.set_purpose(api::PURPOSE_TEST);

    // Plain text is for loopback only; elsewhere use grpc::SslCredentials and a token.
    grpc::ChannelArguments limits;
    limits.SetMaxReceiveMessageSize(16 << 20);
    auto channel = grpc::CreateCustomChannel(count == 4 ? arguments[3] : "127.0.0.1:50051",
                                             grpc::InsecureChannelCredentials(), limits);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
    api::EvaluateFhirResponse response;
    const grpc::Status status = api::EligibilityService::NewStub(channel)->EvaluateFhir(&context, request, &response);
    if (!status.ok()) {
        // What is wrong with which field is in status.error_details(), a google.rpc.Status.
        std::cerr << "no decision (" << status.error_code() << "): " << status.error_message() << "\n";
        return 1;
    }

    for (const auto& fact : response.reading().facts()) {
        std::cout << "read: " << fact.fact() << " = " << fact.value() << "\n";
    }
    for (const auto& candidate : response.reading().candidates()) {
        std::cout << "to confirm: " << candidate.fact() << " (" << candidate.why() << ")\n";
    }
    const auto& decision = response.decision();
    for (const auto& option : decision.options()) {
        std::cout << option.title() << ": "
                  << words(api::EligibilityStatus_Name(option.status()), "ELIGIBILITY_STATUS_") << ". "
                  << option.summary() << "\n";
    }
    for (const auto& question : decision.missing()) {
        std::cout << "ask: " << question.question() << "\n";
    }
    std::cout << decision.disclaimer() << "\n";
    return 0;
}
