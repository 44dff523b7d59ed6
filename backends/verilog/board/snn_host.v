// Words to and from a host as bytes, the lowest byte first.
module snn_host #(
    parameter IN = 8,           // bits of a word to the network
    parameter OUT = 8           // bits of a word from it
) (
    input wire clk,
    input wire reset,
    input wire byte_valid,
    input wire [7:0] byte_data,
    output reg in_valid,
    input wire in_ready,
    output wire [IN-1:0] in_data,
    input wire out_valid,
    output wire out_ready,
    input wire [OUT-1:0] out_data,
    output wire reply_valid,
    input wire reply_ready,
    output wire [7:0] reply_data
);
    localparam IN_BYTES = (IN + 7) / 8, OUT_BYTES = (OUT + 7) / 8;
    localparam IN_COUNT = $clog2(IN_BYTES + 1), OUT_COUNT = $clog2(OUT_BYTES + 1);
    localparam IN_LAST = IN_BYTES - 1;

    // the spare bits of the last byte are not looked at
    // verilator lint_off UNUSEDSIGNAL
    reg [8*IN_BYTES-1:0] word;
    // verilator lint_on UNUSEDSIGNAL
    reg [IN_COUNT-1:0] got;
    assign in_data = word[IN-1:0];
    always @(posedge clk) begin
        if (in_ready) in_valid <= 1'b0;
        if (byte_valid) begin
            word <= (word >> 8) | ({{8*IN_BYTES-8{1'b0}}, byte_data} << (8*IN_BYTES-8));
            got <= got == IN_LAST[IN_COUNT-1:0] ? 0 : got + 1'b1;
            if (got == IN_LAST[IN_COUNT-1:0]) in_valid <= 1'b1;
        end
        if (reset) begin
            in_valid <= 1'b0;
            got <= 0;
        end
    end

    reg [8*OUT_BYTES-1:0] reply;
    reg [OUT_COUNT-1:0] left;
    assign out_ready = left == 0;
    assign reply_valid = left != 0;
    assign reply_data = reply[7:0];
    always @(posedge clk) begin
        if (out_ready && out_valid) begin
            reply <= {{8*OUT_BYTES-OUT{1'b0}}, out_data};
            left <= OUT_BYTES[OUT_COUNT-1:0];
        end else if (reply_valid && reply_ready) begin
            reply <= reply >> 8;
            left <= left - 1'b1;
        end
        if (reset) left <= 0;
    end
endmodule
